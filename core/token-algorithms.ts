import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { BoundedMap } from './bounded-map.ts'

/** Signature algorithms of registry tokens (RFC 7518 §3.1, RFC 8037): these and no others. */
export const TOKEN_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number]

/** RSA moduli in bits; below is forgeable, above only costs time (RFC 7518 §3.3 asks for 2048). */
export const RSA_BITS_MIN = 2048
/** Verifying grows with the square of the length; nobody signs tokens with longer keys. */
export const RSA_BITS_MAX = 4096
/** The one public exponent: verifying takes as many steps as the exponent has bits, and whoever makes a key chooses it. */
export const RSA_EXPONENT = 65537n
/** Bound of `kid`, `use` and such. */
export const JWK_TEXT_CHARS_MAX = 1024

const CURVE_OF: Partial<Record<TokenAlgorithm, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

/** Base64url of a number; some writers put zero bytes before it or padding behind it, which `canonicalKey` takes away. */
const number = (bytesMax: number) =>
  z
    .string()
    .min(1)
    .max(Math.ceil(((bytesMax + 4) * 4) / 3))
    .regex(/^[A-Za-z0-9_-]+={0,2}$/)

/**
 * The public members of a JWK (RFC 7518 §6, RFC 8037 §2), each typed and bounded: what a stranger wrote reaches no
 * crypto, no serialisation and no recursion before it has passed here. All other members, private ones among them, are
 * left behind: RFC 7517 §4 has them ignored.
 */
const jwkSchema = z.discriminatedUnion('kty', [
  z.object({ kty: z.literal('RSA'), n: number(RSA_BITS_MAX / 8), e: number(4) }),
  z.object({ kty: z.literal('EC'), crv: z.enum(['P-256', 'P-384', 'P-521']), x: number(66), y: number(66) }),
  z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: number(32) }),
])
/** What `jwkSchema` let through. */
type PublicJwk = z.output<typeof jwkSchema>

export function isTokenAlgorithm(value: unknown): value is TokenAlgorithm {
  return TOKEN_ALGORITHMS.some((algorithm) => algorithm === value)
}

/** The JWA hash, as node:crypto names it; undefined for EdDSA, which hashes by itself. */
export function hashOf(algorithm: TokenAlgorithm): 'sha256' | 'sha384' | 'sha512' | undefined {
  return algorithm === 'EdDSA' ? undefined : (`sha${algorithm.slice(2)}` as 'sha256' | 'sha384' | 'sha512')
}

/** Bound of keys that stay read: a registry has a few, and its every token names one of them. */
const KEYS_READ_MAX = 64
/** Facts about the text of a key, whoever presents it: they say nothing about trust. */
const keysRead = new BoundedMap<string, KeyObject>(KEYS_READ_MAX)
const canonicalForms = new BoundedMap<string, JsonWebKey>(KEYS_READ_MAX)

/**
 * The public key, when `jwk` is one that `algorithm` may be used with: key type, curve and size agree.
 * Undefined otherwise, also when the key is malformed.
 */
export function publicKeyFor(algorithm: TokenAlgorithm, jwk: JsonWebKey): KeyObject | undefined {
  const checked = jwkSchema.safeParse(jwk).data
  if (checked === undefined || !isKeyTypeOf(algorithm, checked)) return undefined
  return readPublicKey(checked)
}

/** The key, read once: undefined when it is malformed, or an RSA key that Shoal does not compute with. */
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
 * Only the members that RFC 7638 §3.2 requires, in its order: what makes two keys the same key. For keys that were
 * checked or come from node:crypto.
 */
export function publicPartOf(jwk: JsonWebKey): JsonWebKey {
  if (jwk.kty === 'RSA') return { e: jwk.e, kty: 'RSA', n: jwk.n } as JsonWebKey
  if (jwk.kty === 'EC') return { crv: jwk.crv, kty: 'EC', x: jwk.x, y: jwk.y } as JsonWebKey
  return { crv: jwk.crv, kty: jwk.kty, x: jwk.x } as JsonWebKey
}

/** What RFC 7638 hashes. Of keys that `canonicalKey` made, equal keys have equal text. */
function textOf(jwk: JsonWebKey): string {
  return JSON.stringify(publicPartOf(jwk))
}

/** Whether two keys that `canonicalKey` made are the same one. */
export function isSameKey(one: JsonWebKey, other: JsonWebKey): boolean {
  return textOf(one) === textOf(other)
}

/** RFC 7638 thumbprint with SHA-256: 32 bytes. Call it on keys that `canonicalKey` made. */
export function thumbprintOf(jwk: JsonWebKey): Buffer {
  return createHash('sha256').update(textOf(jwk)).digest()
}

/**
 * The public key in one canonical form, whatever leading zeros or padding `jwk` came with. It may be anything at all.
 * @returns undefined when it is not a key that a token algorithm may be used with: RSA (2048 to 4096 bits, e = 65537),
 *   EC or Ed25519
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
 * How Distribution's libtrust names a key in `kid`: SHA-256 of the DER SubjectPublicKeyInfo cut to 240 bits, base32,
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
