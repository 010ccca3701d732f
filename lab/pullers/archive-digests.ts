import { createHash } from 'node:crypto'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { TarReader } from '../image/tar.ts'

/**
 * Hashes every file of an image archive (`docker save`, `podman save`) as it streams by. Layers are in it as
 * uncompressed archives and the config as it is, whatever the names are, so that the digests say what is stored.
 */
export class ArchiveDigests {
  readonly #digests = new Set<Digest>()
  readonly #reader = new TarReader(() => {
    const hash = createHash('sha256')
    return {
      data: (chunk) => void hash.update(chunk),
      end: () => void this.#digests.add(digestFromHex(hash.digest('hex'))),
    }
  })
  #error: unknown

  /** For a stream's `data` event, which an exception must not leave. */
  readonly push = (chunk: Buffer): void => {
    try {
      if (this.#error === undefined) this.#reader.push(chunk)
    } catch (error) {
      this.#error = error
    }
  }

  /** True when every one of `wanted` was in the archive, and the archive was one. */
  hasAll(wanted: readonly Digest[]): boolean {
    return this.#error === undefined && wanted.every((digest) => this.#digests.has(digest))
  }
}
