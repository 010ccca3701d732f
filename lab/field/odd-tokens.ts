import { generateKeyPairSync, randomBytes, randomUUID, sign, verify } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Account } from '../registry/registry.ts'
import type { Authentication } from './manners.ts'

/** Credentials of the odd registries: their token servers, and what the registries think of a request's. */

const TOKEN_SECONDS = 300
const RIGHT = (name: string, actions: string[]) => ({ type: 'repository', name, actions })

type Right = ReturnType<typeof RIGHT>
type Claims = { exp: number; access: Right[] }

export type Verdict = 'welcome' | 'unauthorized' | 'forbidden'

/** One key signs for all of them; opaque tokens are remembered. */
export class OddTokens {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #opaque = new Set<string>()

  /** What a request for a repository gets; `repository` is undefined for the API's root. */
  judge(authentication: Authentication, headers: IncomingHttpHeaders, repository?: string): Verdict {
    const { kind, account, forged = 'refused' } = authentication
    const header = headers.authorization ?? ''
    if (kind === 'basic') return header === basicOf(account) ? 'welcome' : 'unauthorized'
    const token = /^Bearer (.+)$/i.exec(header)?.[1]
    if (forged === 'welcome' && (token !== undefined || repository !== undefined)) return 'welcome'
    if (token === undefined) return 'unauthorized'
    if (kind === 'opaque') return this.#opaque.has(token) ? 'welcome' : 'unauthorized'
    const claims = this.#verified(token)
    if (claims === undefined && forged === 'forbidden') return 'forbidden'
    if (claims === undefined || claims.exp * 1000 < Date.now()) return 'unauthorized'
    if (repository === undefined || authentication.hasEmptyAccess) return 'welcome'
    return claims.access.some(({ name, actions }) => name === repository && actions.includes('pull'))
      ? 'welcome'
      : 'unauthorized'
  }

  challenges(authentication: Authentication, host: string, repository?: string): string[] {
    if (authentication.kind === 'basic') return ['Basic realm="registry"']
    const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`
    const bearer = `Bearer realm="https://${host}/token",service="${host}"${scope}`
    return [bearer, ...(authentication.otherChallenges ?? [])]
  }

  /** @returns the token server's answer; undefined for wrong credentials */
  issue(authentication: Authentication, host: string, url: URL, headers: IncomingHttpHeaders) {
    const { account, tokenSeconds = TOKEN_SECONDS } = authentication
    if (account !== undefined && headers.authorization !== basicOf(account)) return undefined
    const scopes = url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '))
    const token =
      authentication.kind === 'opaque'
        ? this.#opaqueToken(authentication)
        : this.#sign(authentication, claimsOf(authentication, host, scopes.flatMap(rightOf)))
    return { token, access_token: token, expires_in: tokenSeconds, issued_at: new Date().toISOString() }
  }

  #opaqueToken({ tokenBytes = 64 }: Authentication): string {
    const token = randomBytes(Math.ceil((tokenBytes * 3) / 4)).toString('base64')
    this.#opaque.add(token)
    return token
  }

  #sign({ keyHeader = 'jwk' }: Authentication, claims: object): string {
    const { privateKey, publicKey } = this.#keys
    const key = keyHeader === 'jwk' ? { jwk: publicKey.export({ format: 'jwk' }) } : { kid: 'ABCD:EFGH:IJKL' }
    const input = `${encoded({ alg: 'ES256', typ: 'JWT', ...key })}.${encoded(claims)}`
    const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${input}.${signature.toString('base64url')}`
  }

  #verified(token: string): Claims | undefined {
    const [header = '', claims = '', signature = ''] = token.split('.')
    const key = { key: this.#keys.publicKey, dsaEncoding: 'ieee-p1363' as const }
    const input = Buffer.from(`${header}.${claims}`)
    if (!verify('sha256', input, key, Buffer.from(signature, 'base64url'))) return undefined
    return JSON.parse(Buffer.from(claims, 'base64url').toString())
  }
}

function claimsOf(authentication: Authentication, host: string, rights: Right[]): object {
  const now = Math.floor(Date.now() / 1000)
  const { account, tokenSeconds = TOKEN_SECONDS, tokenBytes = 0, otherRights = 0 } = authentication
  const others = Array.from({ length: otherRights }, (_, index) => RIGHT(`other/r${index}`, ['pull']))
  const meta = { project_path: 'team/app', root_namespace_id: 7 }
  const access = [...others, ...rights].map((right) => (authentication.isGitlab ? { ...right, meta } : right))
  return {
    iss: 'field tokens',
    sub: account?.user ?? '',
    aud: host,
    iat: now,
    nbf: now - 5,
    exp: now + tokenSeconds,
    jti: randomUUID(),
    access: authentication.hasEmptyAccess ? [] : access,
    ...(authentication.isGitlab ? { auth_type: 'gitlab_or_ldap', user: 'eyJhbGciOiJIUzI1NiJ9.e30.x' } : {}),
    // Base64 makes four characters of three.
    ...(tokenBytes === 0 ? {} : { context: 'x'.repeat((tokenBytes * 3) / 4) }),
  }
}

function rightOf(scope: string): Right[] {
  const [, name, actions] = /^repository:([^:]+):(.+)$/.exec(scope) ?? []
  return name === undefined || actions === undefined ? [] : [RIGHT(name, actions.split(','))]
}

function basicOf(account: Account | undefined): string | undefined {
  if (account === undefined) return undefined
  return `Basic ${Buffer.from(`${account.user}:${account.password}`).toString('base64')}`
}

const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
