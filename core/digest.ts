import { InvalidInputError } from './errors.ts'
import { plainText } from './plain-text.ts'

declare const checked: unique symbol

/**
 * A content digest (OCI image-spec, "Digests"), checked: `sha256:` and 64 lower-case hex digits.
 * Blobs with other algorithms pass through to the registry and are never swarmed.
 */
export type Digest = string & { readonly [checked]: 'Digest' }

const SHA256_DIGEST = /^sha256:[0-9a-f]{64}$/

export function isDigest(text: string): text is Digest {
  return SHA256_DIGEST.test(text)
}

/** @throws InvalidInputError if `text` is not a SHA-256 digest */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new InvalidInputError(`not a sha256 digest: ${text.slice(0, 80)}`)
  return text
}

/** The 64 hex digits: the torrent's name, and the dNSName of certificates that name the blob. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`)
}

/** Digits of a digest that people are shown; `shoal explain` takes them too. */
const DIGITS_SHOWN = 12

/** Enough to tell blobs apart, and to find one; as runtimes shorten it. @param digest may come from outside */
export function shortDigest(digest: string): string {
  return plainText(digest.replace(/^sha256:/, '').slice(0, DIGITS_SHOWN))
}
