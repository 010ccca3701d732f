import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { BoundedMap } from './bounded-map.ts'

/** The only signature algorithms accepted in registry tokens (RFC 7518 §3.1, RFC 8037). */
export const TOKEN_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number]

/** Bits of RSA moduli. Shorter ones are forgeable; RFC 7518 §3.3 requires 2048. */
export const RSA_BITS_MIN = 2048
/** The cost of verifying grows with the square of the length; nobody signs tokens with longer keys. */
export const RSA_BITS_MAX = 4096
/** The only accepted exponent: verifying takes one step per bit of it, and the maker of a key could choose a long one. */
export const RSA_EXPONENT = 65537n
/** Bound of `kid`, `use` and such. */
export const JWK_TEXT_CHARS_MAX = 1024

const CURVE_OF: Partial<Record<TokenAlgorithm, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

/** Base64url of a number. Some writers add leading zero bytes or padding, which `canonicalKey` removes. */
const number = (bytesMax: number) =>
  z
    .string()
    .min(1)
    .max(Math.ceil(((bytesMax + 4) * 4) / 3))
    .regex(/^[A-Za-z0-9_-]+={0,2}$/)

/**
 * The public members of a JWK (RFC 7518 §6, RFC 8037 §2), each typed and bounded. A stranger's key must pass this before
 * any crypto, serialisation or recursion. All other members, including private ones, are dropped: RFC 7517 §4 has them
 * ignored.
 */
const jwkSchema = z.discriminatedUnion('kty', [
  z.object({ kty: z.literal('RSA'), n: number(RSA_BITS_MAX / 8), e: number(4) }),
  z.object({ kty: z.literal('EC'), crv: z.enum(['P-256', 'P-384', 'P-521']), x: number(66), y: number(66) }),
  z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: number(32) }),
])
/** A key that passed `jwkSchema`. */
type PublicJwk = z.output<typeof jwkSchema>

export function isTokenAlgorithm(value: unknown): value is TokenAlgorithm {
  return TOKEN_ALGORITHMS.some((algorithm) => algorithm === value)
}

/** The JWA hash under its name in node:crypto; undefined for EdDSA, which hashes by itself. */
export function hashOf(algorithm: TokenAlgorithm): 'sha256' | 'sha384' | 'sha512' | undefined {
  return algorithm === 'EdDSA' ? undefined : (`sha${algorithm.slice(2)}` as 'sha256' | 'sha384' | 'sha512')
}

/** Bound of cached keys: a registry has a few, and each of its tokens names one of them. */
const KEYS_READ_MAX = 64
/** Parsed keys by their text, whoever presents them. Says nothing about trust. */
const keysRead = new BoundedMap<string, KeyObject>(KEYS_READ_MAX)
const canonicalForms = new BoundedMap<string, JsonWebKey>(KEYS_READ_MAX)

/**
 * The public key, if `jwk` fits `algorithm` in key type, curve and size. Undefined otherwise, also if the key is
 * malformed.
 */
export function publicKeyFor(algorithm: TokenAlgorithm, jwk: JsonWebKey): KeyObject | undefined {
  const checked = jwkSchema.safeParse(jwk).data
  if (checked === undefined || !isKeyTypeOf(algorithm, checked)) return undefined
  return readPublicKey(checked)
}

/** Reads the key; undefined if it is malformed, or an RSA key that Shoal does not use. */
function readPublicKey(jwk: PublicJwk): KeyObject | undefined {
  const text = textOf(jwk)
  const known = keysRead.get(text)
  if (known !== undefined) return known
  try {
    const key = createPublicKey({ key: publicPartOf(jwk), format: 'jwk' })
    if (jwk.kty === 'RSA' && !isBoundedRsa(key)) return undefined
    keysRead.set(text, key)
    return key
  } catch {
    return undefined
  }
}

function isBoundedRsa({ asymmetricKeyDetails }: KeyObject): boolean {
  const { modulusLength = 0, publicExponent } = asymmetricKeyDetails ?? {}
  return modulusLength >= RSA_BITS_MIN && modulusLength <= RSA_BITS_MAX && publicExponent === RSA_EXPONENT
}

function isKeyTypeOf(algorithm: TokenAlgorithm, jwk: PublicJwk): boolean {
  if (algorithm.startsWith('RS')) return jwk.kty === 'RSA'
  if (algorithm === 'EdDSA') return jwk.kty === 'OKP' && jwk.crv === 'Ed25519'
  return jwk.kty === 'EC' && jwk.crv === CURVE_OF[algorithm]
}

/**
 * Only the members that RFC 7638 §3.2 requires, in its order; they identify a key. For keys that were checked or come
 * from node:crypto.
 */
export function publicPartOf(jwk: JsonWebKey): JsonWebKey {
  if (jwk.kty === 'RSA') return { e: jwk.e, kty: 'RSA', n: jwk.n } as JsonWebKey
  if (jwk.kty === 'EC') return { crv: jwk.crv, kty: 'EC', x: jwk.x, y: jwk.y } as JsonWebKey
  return { crv: jwk.crv, kty: jwk.kty, x: jwk.x } as JsonWebKey
}

/** The text that RFC 7638 hashes. Equal keys from `canonicalKey` have equal text. */
function textOf(jwk: JsonWebKey): string {
  return JSON.stringify(publicPartOf(jwk))
}

/** Whether two keys from `canonicalKey` are the same. */
export function isSameKey(one: JsonWebKey, other: JsonWebKey): boolean {
  return textOf(one) === textOf(other)
}

/** RFC 7638 thumbprint with SHA-256: 32 bytes. Call it on keys from `canonicalKey`. */
export function thumbprintOf(jwk: JsonWebKey): Buffer {
  return createHash('sha256').update(textOf(jwk)).digest()
}

/**
 * The public key in one canonical form, whatever leading zeros or padding `jwk` has. `jwk` may be any value.
 * @returns undefined if no token algorithm can use it: only RSA (2048 to 4096 bits, e = 65537), EC and Ed25519 keys
 *   count
 */
export function canonicalKey(jwk: unknown): JsonWebKey | undefined {
  const checked = jwkSchema.safeParse(jwk).data
  if (checked === undefined) return undefined
  const text = textOf(checked)
  const known = canonicalForms.get(text)
  if (known !== undefined) return known
  const key = readPublicKey(checked)
  if (key === undefined) return undefined
  const canonical = Object.freeze(publicPartOf(key.export({ format: 'jwk' })))
  canonicalForms.set(text, canonical)
  return canonical
}

/**
 * The name of a key in `kid` by Distribution's libtrust: SHA-256 of the DER SubjectPublicKeyInfo cut to 240 bits, base32,
 * in groups of four.
 */
export function libtrustKeyId(key: KeyObject): string {
  const hash = createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
  const bits = [...hash.subarray(0, 30)].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  const letters = bits
    .match(/.{5}/g)!
    .map((five) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(five, 2)])
  return letters.join('').match(/.{4}/g)!.join(':')
}
