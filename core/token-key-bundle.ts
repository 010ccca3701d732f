import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { RegistryFileError, readRegistryFile } from './registry-config.ts'
import { libtrustKeyId, publicPartOf, thumbprintOf } from './token-algorithms.ts'
import { certificatesOf } from './trusted-authorities.ts'

/** A public key of a token server, from configuration. */
export interface ConfiguredKey {
  jwk: JsonWebKey
  /** What a token's `kid` may call it: its JWKS name, its RFC 7638 thumbprint, Distribution's fingerprint. */
  keyIds: ReadonlySet<string>
}

/** Bound of keys per file. */
export const CONFIGURED_KEYS_MAX = 64

const jwksSchema = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string(), kid: z.string().max(1024).optional() }))
    .min(1)
    .max(CONFIGURED_KEYS_MAX),
})

/**
 * The keys of a `tokenKeysFile`: a JWKS (RFC 7517 §5), or PEM certificates as in Distribution's `rootcertbundle`.
 * A certificate stands for its own key only: what it may have signed is not trusted through it.
 * @throws RegistryFileError, AuthorityBundleError
 */
export function readTokenKeys(path: string): ConfiguredKey[] {
  const text = readRegistryFile(path, 'tokenKeysFile')
  if (text.trimStart().startsWith('{')) return keysFromJwks(text, path)
  return certificatesOf(text)
    .slice(0, CONFIGURED_KEYS_MAX)
    .map((certificate) => configuredKey(certificate.publicKey))
}

function configuredKey(key: KeyObject, name?: string): ConfiguredKey {
  const jwk = publicPartOf(key.export({ format: 'jwk' }))
  const keyIds = [thumbprintOf(jwk).toString('base64url'), libtrustKeyId(key)]
  return { jwk, keyIds: new Set(name === undefined ? keyIds : [name, ...keyIds]) }
}

function keysFromJwks(text: string, path: string): ConfiguredKey[] {
  try {
    return jwksSchema
      .parse(JSON.parse(text))
      .keys.map(({ kid, ...jwk }) =>
        configuredKey(createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }), kid),
      )
  } catch (cause) {
    throw new RegistryFileError(`tokenKeysFile is not a set of public keys: ${path}`, {
      cause,
      hint: 'Expected {"keys": [{"kty": …}, …]} (RFC 7517), RSA, EC or Ed25519 keys.',
    })
  }
}
