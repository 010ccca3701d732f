import {
  createHash,
  createPrivateKey,
  type KeyObject,
  randomUUID,
  timingSafeEqual,
  X509Certificate,
} from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { SignJWT } from 'jose'
import type { TokenSigningKey } from './token-authority.ts'

/**
 * A token server by the Distribution project's specification ("Token Authentication Specification"): it takes basic
 * credentials and returns a signed JWT that names its holder's rights in a repository.
 */

export interface TokenUser {
  password: string
  /** The user's rights per repository, for example `{ 'team/app': ['pull'] }`. */
  access: Record<string, string[]>
}

export interface TokenServerOptions {
  listen: { host: string; port: number }
  tls: { certificatePem: string; privateKeyPem: string }
  signingKey: TokenSigningKey
  issuer: string
  /** The registry's name, which becomes the tokens' audience. Tokens for another service are refused. */
  service: string
  users: Record<string, TokenUser>
  tokenSeconds: number
}

interface Grant {
  type: 'repository'
  name: string
  actions: string[]
}

/** Scopes of one request: a manifest's mount asks for two, and no client for more than a handful. */
const SCOPES_MAX = 16
const CONNECTIONS_MAX = 256

export async function startTokenServer(options: TokenServerOptions) {
  const issue = tokenIssuer(options)
  const server = createServer(
    { cert: options.tls.certificatePem, key: options.tls.privateKeyPem },
    (request, response) => {
      answerTokenRequest(options, issue, request, response).catch(() => sendError(response, 500, 'UNKNOWN'))
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  await listening(server, options.listen)
  return {
    address: server.address() as AddressInfo,
    /** A token as the server would give it, without a request. */
    issue: async (subject: string, access: Grant[]) => (await issue(subject, access)).token,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

type IssueToken = (subject: string, access: Grant[]) => Promise<{ token: string; issuedAt: Date }>

/** Claims as Distribution reads them: `aud` is one string, times are seconds. */
function tokenIssuer({ signingKey, issuer, service, tokenSeconds }: TokenServerOptions): IssueToken {
  const key: KeyObject = createPrivateKey(signingKey.privateKeyPem)
  const x5c = [new X509Certificate(signingKey.certificatePem).raw.toString('base64')]
  return async (subject, access) => {
    const issuedAt = new Date()
    const seconds = Math.floor(issuedAt.getTime() / 1000)
    const token = await new SignJWT({ access })
      .setProtectedHeader({ typ: 'JWT', alg: signingKey.algorithm, x5c })
      .setIssuer(issuer)
      .setSubject(subject)
      .setAudience(service)
      .setJti(randomUUID())
      .setIssuedAt(seconds)
      .setNotBefore(seconds)
      .setExpirationTime(seconds + tokenSeconds)
      .sign(key)
    return { token, issuedAt }
  }
}

async function answerTokenRequest(
  { users, service, tokenSeconds }: TokenServerOptions,
  issue: IssueToken,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://token-server.invalid')
  if (url.pathname !== '/token') return sendError(response, 404, 'NOT_FOUND')
  // Clients that try OAuth2's POST first fall back to GET on this status.
  if (request.method !== 'GET') return sendError(response, 405, 'UNSUPPORTED')
  if (url.searchParams.get('service') !== service) return sendError(response, 400, 'UNKNOWN_SERVICE')
  const caller = callerOf(request.headers.authorization, users)
  if (caller === undefined) {
    response.setHeader('www-authenticate', 'Basic realm="lab"')
    return sendError(response, 401, 'UNAUTHORIZED')
  }
  const scopes = url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '))
  const access = scopes.slice(0, SCOPES_MAX).flatMap((scope) => grantedOf(scope, caller.access))
  const { token, issuedAt } = await issue(caller.name, access)
  send(response, 200, {
    token,
    access_token: token,
    expires_in: tokenSeconds,
    issued_at: issuedAt.toISOString(),
  })
}

/** @returns an anonymous caller without rights when no credentials are sent, undefined when they are wrong */
function callerOf(
  authorization: string | undefined,
  users: Record<string, TokenUser>,
): { name: string; access: TokenUser['access'] } | undefined {
  if (authorization === undefined) return { name: '', access: {} }
  const encoded = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(authorization)?.[1] ?? ''
  const [, name = '', password = ''] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? []
  const user = Object.hasOwn(users, name) ? users[name] : undefined
  return user !== undefined && areEqual(user.password, password) ? { name, access: user.access } : undefined
}

/** A scope is `repository:<name>:<actions>`; forbidden actions are left out, as the specification says. */
function grantedOf(scope: string, access: TokenUser['access']): Grant[] {
  const [, name = '', asked = ''] = /^repository:([^:]+):([a-z*,]+)$/.exec(scope) ?? []
  const allowed = Object.hasOwn(access, name) ? access[name]! : []
  const actions = asked.split(',').filter((action) => allowed.includes(action))
  return actions.length === 0 ? [] : [{ type: 'repository', name, actions }]
}

function areEqual(left: string, right: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(left), hash(right))
}

/** Errors as registries write them (OCI distribution-spec, "Error Codes"). */
function sendError(response: ServerResponse, status: number, code: string): void {
  send(response, status, { errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] })
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}

function listening(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, host, () => resolve())
  })
}
