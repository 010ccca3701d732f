import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { BoundedMap } from './bounded-map.ts'

/** Signature algorithms of registry tokens (RFC 7518 §3.1, RFC 8037): these and no others. */
export const TOKEN_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const
export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number]

/** RSA moduli in bits; below is forgeable, above only costs time (RFC 7518 §3.3 asks for 2048). */
export const RSA_BITS_MIN = 2048
/** Verifying grows with the square of the length; nobody uses longer keys. */
export const RSA_BITS_MAX = 8192

const CURVE_OF: Partial<Record<TokenAlgorithm, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

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
  if (!isKeyTypeOf(algorithm, jwk)) return undefined
  const text = `${algorithm} ${textOf(jwk)}`
  const known = keysRead.get(text)
  if (known !== undefined) return known
  const key = readPublicKey(algorithm, jwk)
  if (key !== undefined) keysRead.set(text, key)
  return key
}

function readPublicKey(algorithm: TokenAlgorithm, jwk: JsonWebKey): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: publicPartOf(jwk), format: 'jwk' })
    const bits = key.asymmetricKeyDetails?.modulusLength
    if (algorithm.startsWith('RS') && (bits === undefined || bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)) {
      return undefined
    }
    return key
  } catch {
    return undefined
  }
}

function isKeyTypeOf(algorithm: TokenAlgorithm, jwk: JsonWebKey): boolean {
  if (algorithm.startsWith('RS')) return jwk.kty === 'RSA'
  if (algorithm === 'EdDSA') return jwk.kty === 'OKP' && jwk.crv === 'Ed25519'
  return jwk.kty === 'EC' && jwk.crv === CURVE_OF[algorithm]
}

/** Only the members that RFC 7638 §3.2 requires, in its order: what makes two keys the same key. */
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
 * The public key in one canonical form, whatever leading zeros or padding `jwk` came with.
 * @returns undefined when it is not a well-formed RSA, EC or OKP key
 */
export function canonicalKey(jwk: JsonWebKey): JsonWebKey | undefined {
  const text = textOf(jwk)
  const known = canonicalForms.get(text)
  if (known !== undefined) return known
  try {
    const read = createPublicKey({ key: publicPartOf(jwk), format: 'jwk' })
    const canonical = Object.freeze(publicPartOf(read.export({ format: 'jwk' })))
    canonicalForms.set(text, canonical)
    return canonical
  } catch {
    return undefined
  }
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
