import { createHash } from 'node:crypto'
import { type Digest, digestFromHex } from '../../core/digest.ts'
import { TarReader } from '../image/tar.ts'

/**
 * Hashes every file of an image archive (`docker save`, `podman save`) while it streams by. The archive has layers as
 * uncompressed archives and the config unchanged, under any names, so the digests show what is stored.
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

  /** Handler of a stream's `data` event; it must not throw. */
  readonly push = (chunk: Buffer): void => {
    try {
      if (this.#error === undefined) this.#reader.push(chunk)
    } catch (error) {
      this.#error = error
    }
  }

  /** True when the archive was valid and held every one of `wanted`. */
  hasAll(wanted: readonly Digest[]): boolean {
    return this.#error === undefined && wanted.every((digest) => this.#digests.has(digest))
  }
}
