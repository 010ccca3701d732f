import type { SwarmId } from '../../core/metainfo.ts'
import { dropPieces, type Hashing, wrongPieces } from './damage.ts'
import type { StoredBlob } from './stored-blob.ts'

/**
 * Blobs that were written to before the node ended uncleanly. The page cache survives a killed process but not a machine
 * that fails: the state file may name pieces whose bytes never reached the disk. So every piece is hashed before anybody
 * gets it, and wrong ones are fetched again.
 */
export class UncleanBlobs {
  readonly #blobs = new Map<SwarmId, StoredBlob>()
  readonly #checking = new Map<SwarmId, Promise<void>>()
  readonly #onChecked: (blob: StoredBlob) => void

  constructor(onChecked: (blob: StoredBlob) => void) {
    this.#onChecked = onChecked
  }

  add(blob: StoredBlob): void {
    this.#blobs.set(blob.swarm, blob)
  }

  all(): StoredBlob[] {
    return [...this.#blobs.values()]
  }

  /** Checks the blob, once, and hands it over. Resolves at once when there is nothing to check. */
  checked(swarm: SwarmId, verifier: Hashing): Promise<void> {
    const running = this.#checking.get(swarm)
    const blob = this.#blobs.get(swarm)
    if (running || !blob) return running ?? Promise.resolve()
    const checking = this.#check(blob, verifier).finally(() => this.#checking.delete(swarm))
    this.#checking.set(swarm, checking)
    return checking
  }

  async #check(blob: StoredBlob, verifier: Hashing): Promise<void> {
    const wrong = await blob.withFile(() => wrongPieces(blob, verifier)).catch(() => undefined)
    // The node has ended meanwhile: the blob stays as it is.
    if (wrong === undefined || !this.#blobs.delete(blob.swarm)) return
    if (wrong.length > 0) dropPieces(blob, wrong)
    blob.markDirty()
    this.#onChecked(blob)
  }

  /** Their states on disk stay: they are checked after the next start. */
  async close(): Promise<void> {
    const blobs = this.all()
    this.#blobs.clear()
    await Promise.all(blobs.map((blob) => blob.leave()))
  }
}
