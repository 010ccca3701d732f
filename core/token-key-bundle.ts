import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { parseBoundedJson } from './bounded-json.ts'
import { RegistryFileError, readRegistryFile } from './registry-config.ts'
import { canonicalKey, JWK_TEXT_CHARS_MAX, libtrustKeyId, thumbprintOf } from './token-algorithms.ts'
import { certificatesOf } from './trusted-authorities.ts'

/** A public key of a token server, from configuration. */
export interface ConfiguredKey {
  jwk: JsonWebKey
  /** Names for it in a token's `kid`: its JWKS name, its RFC 7638 thumbprint, Distribution's fingerprint. */
  keyIds: ReadonlySet<string>
}

/** Bound of keys per file. */
export const CONFIGURED_KEYS_MAX = 64
/** Length of a JWKS: 64 keys, each with a chain of certificates. */
const JWKS_CHARS_MAX = 4 * 1024 * 1024
/** Nesting of the set, its list, a key and the key's members. */
const JWKS_DEPTH_MAX = 8

const jwksSchema = z.object({ keys: z.array(z.unknown()).min(1).max(CONFIGURED_KEYS_MAX) })
const namedSchema = z.object({ kid: z.string().max(JWK_TEXT_CHARS_MAX).optional() })

/**
 * The keys of a `tokenKeysFile`: a JWKS (RFC 7517 §5), or PEM certificates as in Distribution's `rootcertbundle`.
 * A certificate stands only for its own key; certificates that it signed are not trusted. Keys that cannot verify tokens
 * are ignored (RFC 7517 §5): other types, and RSA keys of other lengths or exponents.
 * @throws RegistryFileError, AuthorityBundleError
 */
export function readTokenKeys(path: string): ConfiguredKey[] {
  const text = readRegistryFile(path, 'tokenKeysFile')
  const keys = text.trimStart().startsWith('{') ? keysFromJwks(text, path) : keysFromBundle(text)
  if (keys.length > 0) return keys
  throw new RegistryFileError(`tokenKeysFile has no key that can verify tokens: ${path}`, {
    hint: 'RSA keys of 2048 to 4096 bits with the exponent 65537, EC keys (P-256, P-384, P-521) or Ed25519 keys.',
  })
}

function keysFromBundle(text: string): ConfiguredKey[] {
  return certificatesOf(text)
    .slice(0, CONFIGURED_KEYS_MAX)
    .flatMap(({ publicKey }) => configuredKey(exportedJwk(publicKey)))
}

/** @returns undefined for a kind of key that has no JWK */
function exportedJwk(key: KeyObject): JsonWebKey | undefined {
  try {
    return key.export({ format: 'jwk' })
  } catch {
    return undefined
  }
}

/** @returns one key, or none for a key that cannot verify tokens */
function configuredKey(key: unknown, name?: string): ConfiguredKey[] {
  const jwk = canonicalKey(key)
  if (jwk === undefined) return []
  const libtrustId = libtrustKeyId(createPublicKey({ key: jwk, format: 'jwk' }))
  const keyIds = [thumbprintOf(jwk).toString('base64url'), libtrustId]
  return [{ jwk, keyIds: new Set(name === undefined ? keyIds : [name, ...keyIds]) }]
}

function keysFromJwks(text: string, path: string): ConfiguredKey[] {
  try {
    const json = parseBoundedJson(text, { charsMax: JWKS_CHARS_MAX, depthMax: JWKS_DEPTH_MAX })
    return jwksSchema.parse(json).keys.flatMap((key) => configuredKey(key, namedSchema.parse(key).kid))
  } catch (cause) {
    throw new RegistryFileError(`tokenKeysFile is not a set of public keys: ${path}`, {
      cause,
      hint: 'Expected {"keys": [{"kty": …}, …]} (RFC 7517), RSA, EC or Ed25519 keys.',
    })
  }
}
