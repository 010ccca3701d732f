import { createHash, type JsonWebKey, verify, X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { parseBoundedJson } from './bounded-json.ts'
import { ShoalError } from './errors.ts'
import {
  canonicalKey,
  hashOf,
  isSameKey,
  isTokenAlgorithm,
  JWK_TEXT_CHARS_MAX,
  publicKeyFor,
  type TokenAlgorithm,
} from './token-algorithms.ts'

/**
 * Registry tokens (Distribution's "Token Authentication Specification"; JWS compact form, RFC 7515 §7.1).
 * Reading one proves nothing. Its signature is checked with a key that is trusted for other reasons (token-keys.ts), or
 * its holder proves that the signature exists (token-proof/).
 */

export type RegistryTokenErrorCode = 'TOKEN_MALFORMED' | 'TOKEN_ALGORITHM' | 'TOKEN_CRITICAL_HEADER'

/** The text is not a registry token that Shoal reads: refuse the caller, or ask the registry instead. */
export class RegistryTokenError extends ShoalError {
  readonly code: RegistryTokenErrorCode

  constructor(code: RegistryTokenErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.code = code
  }
}

/** Bound of a token: it must fit one request header (64 KiB of headers), and with its proof one frame between peers. */
export const TOKEN_CHARS_MAX = 48 * 1024
/** Nesting of a token's header and payload: `access` needs 3, and some token servers write structured claims. */
export const TOKEN_DEPTH_MAX = 16
/** Bounds of `x5c`: certificates, of which the first is read, and the base64 of one. */
const X5C_CERTIFICATES_MAX = 8
const X5C_CHARS_MAX = 16 * 1024
/** Bound of `access` entries: a pull needs one, robot accounts have hundreds. */
export const TOKEN_ACCESS_MAX = 1024
/** Distribution has pull, push, delete and *. */
const TOKEN_ACTIONS_MAX = 32
/** A token is for one service, rarely for several. */
const TOKEN_AUDIENCES_MAX = 16
/** Distribution's own leeway for `nbf` and `exp`. */
export const TOKEN_SKEW_SECONDS = 60

export interface TokenAccess {
  type: string
  name: string
  actions: string[]
}

/** A token without its signature; peers never see more. */
export interface SignedClaims {
  /** `header.payload`, the signed text. */
  signingInput: string
  /** SHA-256 of the signing input: 64 hex digits, as in pull certificates. */
  hash: string
  algorithm: TokenAlgorithm
  issuer: string
  audience: string[]
  subject: string
  /** Seconds since 1970, like all times here. */
  notBeforeSeconds?: number
  expiresAtSeconds?: number
  access: TokenAccess[]
  /** For peer tokens: SHA-256 (64 hex digits) of the SubjectPublicKeyInfo of the only key that may present it. */
  boundKey?: string
  /** The token's embedded key (`x5c`, else `jwk`) in canonical form. It proves nothing. */
  embeddedKey?: JsonWebKey
  /** `kid`; needed only if no key is embedded. */
  keyId?: string
}

export interface RegistryToken extends SignedClaims {
  signature: Buffer
}

const seconds = z.number().nonnegative().max(1e12)
const optionalText = z.string().max(4096).nullish()

const headerText = z.string().max(JWK_TEXT_CHARS_MAX)

/**
 * Every parameter that RFC 7515 §4.1 registers, typed and bounded. Others must be ignored (§4), so they are dropped here:
 * nothing untyped passes. `jwk` is checked when it is read (`canonicalKey`).
 */
const headerSchema = z.object({
  alg: headerText,
  typ: headerText.optional(),
  cty: headerText.optional(),
  kid: headerText.min(1).optional(),
  jku: headerText.optional(),
  x5u: headerText.optional(),
  x5t: headerText.optional(),
  'x5t#S256': headerText.optional(),
  x5c: z.array(z.string().max(X5C_CHARS_MAX)).min(1).max(X5C_CERTIFICATES_MAX).optional(),
  jwk: z.unknown().optional(),
  crit: z.unknown().optional(),
})
type Header = Omit<z.output<typeof headerSchema>, 'alg'> & { alg: TokenAlgorithm }

const accessSchema = z.object({
  type: z.string().max(256),
  name: z.string().max(1024),
  actions: z.array(z.string().max(256)).max(TOKEN_ACTIONS_MAX).nullish(),
})

const payloadSchema = z.object({
  iss: z.string().min(1).max(1024),
  aud: z.union([z.string().max(1024), z.array(z.string().max(1024)).min(1).max(TOKEN_AUDIENCES_MAX)]),
  sub: optionalText,
  nbf: seconds.nullish(),
  exp: seconds.nullish(),
  access: z.array(accessSchema).max(TOKEN_ACCESS_MAX).nullish(),
  /** RFC 7800 §3.1. Shoal ignores other members that registries may put there. */
  cnf: z
    .object({ 'spki-sha256': z.string().max(64) })
    .optional()
    .catch(undefined),
})

/**
 * Reads a token without checking its signature.
 * @throws RegistryTokenError
 */
export function parseRegistryToken(jwt: string): RegistryToken {
  const dot = jwt.lastIndexOf('.')
  if (jwt.length > TOKEN_CHARS_MAX || dot < 0) throw malformed('not a token in compact form')
  return { ...parseSigningInput(jwt.slice(0, dot)), signature: bytesOf(jwt.slice(dot + 1)) }
}

/**
 * Reads `header.payload`, which a peer presents with its proof.
 * @throws RegistryTokenError
 */
export function parseSigningInput(signingInput: string): SignedClaims {
  const parts = signingInput.split('.')
  if (signingInput.length > TOKEN_CHARS_MAX || parts.length !== 2) throw malformed('not header and payload')
  const header = parseHeader(parts[0]!)
  const payload = shaped(payloadSchema, jsonOf(parts[1]!))
  const embeddedKey = embeddedKeyOf(header)
  return {
    signingInput,
    hash: signingInputHash(signingInput),
    algorithm: header.alg,
    issuer: payload.iss,
    audience: typeof payload.aud === 'string' ? [payload.aud] : payload.aud,
    subject: payload.sub ?? '',
    ...(payload.nbf == null ? {} : { notBeforeSeconds: payload.nbf }),
    ...(payload.exp == null ? {} : { expiresAtSeconds: payload.exp }),
    access: (payload.access ?? []).map(({ type, name, actions }) => ({ type, name, actions: actions ?? [] })),
    ...(payload.cnf === undefined ? {} : { boundKey: payload.cnf['spki-sha256'] }),
    ...(embeddedKey === undefined ? {} : { embeddedKey }),
    ...(header.kid === undefined ? {} : { keyId: header.kid }),
  }
}

/** SHA-256 (64 hex digits) of a signing input, whatever text it is. Cheap, so it is compared before any text is parsed. */
export function signingInputHash(signingInput: string): string {
  return createHash('sha256').update(signingInput).digest('hex')
}

function parseHeader(text: string): Header {
  const { alg, ...header } = shaped(headerSchema, jsonOf(text))
  if (!isTokenAlgorithm(alg)) {
    throw new RegistryTokenError('TOKEN_ALGORITHM', `tokens signed with ${alg.slice(0, 20)} are refused`)
  }
  // A recipient that does not understand a critical header must refuse the token (RFC 7515 §4.1.11).
  if (header.crit !== undefined)
    throw new RegistryTokenError('TOKEN_CRITICAL_HEADER', 'the token has a crit header')
  return { alg, ...header }
}

function embeddedKeyOf(header: Header): JsonWebKey | undefined {
  const fromChain = header.x5c === undefined ? undefined : keyOfCertificate(header.x5c[0]!)
  if (header.jwk === undefined) return fromChain
  const fromJwk = canonicalKey(header.jwk)
  if (fromJwk === undefined) throw malformed('the embedded key is of a kind that signs no tokens')
  // With two different keys the registry and Shoal could each pick another one.
  if (fromChain !== undefined && !isSameKey(fromChain, fromJwk)) {
    throw malformed('x5c and jwk name different keys')
  }
  return fromJwk
}

/** Standard base64 of DER; the first certificate has the signing key (RFC 7515 §4.1.6). */
function keyOfCertificate(base64: string): JsonWebKey {
  const key = canonicalKey(exportedKeyOf(base64))
  if (key === undefined) throw malformed('the key of x5c is of a kind that signs no tokens')
  return key
}

function exportedKeyOf(base64: string): JsonWebKey {
  try {
    return new X509Certificate(Buffer.from(base64, 'base64')).publicKey.export({ format: 'jwk' })
  } catch (cause) {
    throw malformed('x5c does not begin with a certificate', cause)
  }
}

function jsonOf(part: string): unknown {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(part))
    return parseBoundedJson(text, { charsMax: TOKEN_CHARS_MAX, depthMax: TOKEN_DEPTH_MAX })
  } catch {
    // Omit the cause: it would quote the token in logs.
    throw malformed('not JSON in base64url')
  }
}

function shaped<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value)
  if (!result.success) throw malformed(`unexpected ${result.error.issues[0]?.path.join('.') || 'JSON'}`)
  return result.data
}

/** Base64url without padding, in the only canonical form of these bytes. */
function bytesOf(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (part === '' || bytes.toString('base64url') !== part) throw malformed('not base64url')
  return bytes
}

function malformed(message: string, cause?: unknown): RegistryTokenError {
  return new RegistryTokenError('TOKEN_MALFORMED', message, cause === undefined ? {} : { cause })
}

/** Whether the token grants `pull` on the repository. As in Distribution, `*` stands for every action. */
export function grantsPull(token: Pick<SignedClaims, 'access'>, repository: string): boolean {
  return token.access.some(
    ({ type, name, actions }) =>
      type === 'repository' && name === repository && (actions.includes('pull') || actions.includes('*')),
  )
}

/** Whether the token is valid at `atSeconds`. As in Distribution, a token without an end is never valid. */
export function isValidAt(
  token: Pick<SignedClaims, 'notBeforeSeconds' | 'expiresAtSeconds'>,
  atSeconds: number,
  skewSeconds: number = TOKEN_SKEW_SECONDS,
): boolean {
  if (token.expiresAtSeconds === undefined || atSeconds >= token.expiresAtSeconds + skewSeconds) return false
  return token.notBeforeSeconds === undefined || atSeconds >= token.notBeforeSeconds - skewSeconds
}

/** Whether `jwk` made the token's signature; false if the key does not fit the token's algorithm. */
export function isSignedBy(token: RegistryToken, jwk: JsonWebKey): boolean {
  const key = publicKeyFor(token.algorithm, jwk)
  if (key === undefined) return false
  // ECDSA signatures are r and s side by side, not DER (RFC 7518 §3.4). Other algorithms ignore this.
  const options = { key, dsaEncoding: 'ieee-p1363' } as const
  return verify(hashOf(token.algorithm) ?? null, Buffer.from(token.signingInput), options, token.signature)
}
