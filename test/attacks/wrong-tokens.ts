import { createHmac } from 'node:crypto'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { type ProofBinding, prepareProver } from '../../core/token-proof/index.ts'
import { encoded, makeSigner, pullClaims, type Signer, signingInputOf } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'

/** Tokens that must open nothing, each with the best proof that their holder can make. */
export interface WrongToken {
  token: string
  prove(binding: ProofBinding): Buffer
}

/** The registry's own key, which signs what its token server would not, and the header that names it. */
export interface TokenServer {
  signer: Signer
  header: Record<string, unknown>
}

const OTHER = 'team/other'
const nowSeconds = () => Math.floor(Date.now() / 1000)

/** A token that its maker signed, with a proof by the same key. */
const proven = (token: string, { publicJwk }: Signer): WrongToken => ({
  token,
  prove: (binding) => prepareProver(token, publicJwk).prove(binding),
})

/** What is sent for a proof is the signature itself, as it stands in the token. */
const shown = (token: string): WrongToken => ({
  token,
  prove: () =>
    Buffer.concat([Buffer.of(1), Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url')]),
})

/** Signed by the registry's key, but for other claims. */
const claiming =
  (changes: () => Record<string, unknown>, repository: string = REPOSITORY) =>
  ({ signer, header }: TokenServer) =>
    proven(signer.sign(pullClaims(repository, changes()), header), signer)

/** The DER in base64 (RFC 7515 §4.1.6) of a certificate that an authority of the attacker's issued for its key. */
async function ownX5c(own: Signer): Promise<string[]> {
  const authority = await makeAuthority({ commonName: 'token server', validForSeconds: 600 })
  const leaf = await issueLeaf(authority, {
    commonName: 'token server',
    validForSeconds: 600,
    names: [],
    usages: ['serverAuth'],
    spki: own.publicKey.export({ type: 'spki', format: 'der' }),
  })
  return [leaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
}

/** Signed with a key of the attacker's own, under any header. */
const selfSigned =
  (
    headerOf: (
      own: Signer,
      server: TokenServer,
    ) => Record<string, unknown> | Promise<Record<string, unknown>>,
  ) =>
  async (server: TokenServer) => {
    const own = makeSigner('ES256')
    return proven(own.sign(pullClaims(REPOSITORY), await headerOf(own, server)), own)
  }

const granting = (access: unknown[]) => claiming(() => ({ access }))

export const WRONG_TOKENS: [what: string, make: (server: TokenServer) => WrongToken | Promise<WrongToken>][] =
  [
    ['a token for another repository', claiming(() => ({}), OTHER)],
    [
      'a token that grants push only',
      granting([{ type: 'repository', name: REPOSITORY, actions: ['push', 'delete'] }]),
    ],
    [
      'a token that grants pull of something that is no repository',
      granting([{ type: 'registry', name: REPOSITORY, actions: ['pull', '*'] }]),
    ],
    ['a token that grants nothing', granting([])],
    [
      'a token that had ended before the grant',
      claiming(() => ({ nbf: nowSeconds() - 600, exp: nowSeconds() - 120 })),
    ],
    [
      'a token that begins after the grant',
      claiming(() => ({ nbf: nowSeconds() + 300, exp: nowSeconds() + 900 })),
    ],
    ['a token without an end', claiming(() => ({ exp: undefined }))],
    ['a token of another issuer', claiming(() => ({ iss: 'someone else' }))],
    ['a token for another audience', claiming(() => ({ aud: 'another service' }))],
    ['a token signed with its own key, embedded as jwk', selfSigned((own) => ({ jwk: own.publicJwk }))],
    [
      'a token signed with its own key, embedded as x5c',
      selfSigned(async (own) => ({ x5c: await ownX5c(own) })),
    ],
    [
      "a token signed with its own key under the trusted key's reference",
      selfSigned(() => ({ kid: 'trusted' })),
    ],
    ['a token signed with its own key that names none', selfSigned(() => ({}))],
    // The proof is made with another key than the statement is about.
    ['a token signed with its own key that embeds the trusted one', selfSigned((_, { header }) => header)],
    ['a token with alg none', () => shown(`${encoded({ alg: 'none' })}.${encoded(pullClaims(REPOSITORY))}.`)],
    [
      'a token with an HMAC keyed with the public key',
      ({ signer, header }) => {
        const input = `${encoded({ ...header, alg: 'HS256' })}.${encoded(pullClaims(REPOSITORY))}`
        const publicPem = signer.publicKey.export({ type: 'spki', format: 'pem' })
        return shown(`${input}.${createHmac('sha256', publicPem).update(input).digest('base64url')}`)
      },
    ],
    [
      'a token cut short',
      ({ signer, header }) => {
        const whole = signer.sign(pullClaims(REPOSITORY), header)
        return { ...proven(whole, signer), token: `${signingInputOf(whole).slice(0, -20)}.x` }
      },
    ],
    [
      'a right token of which the signature is shown for a proof',
      ({ signer, header }) => shown(signer.sign(pullClaims(REPOSITORY), header)),
    ],
  ]
