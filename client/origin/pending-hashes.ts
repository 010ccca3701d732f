import { BATCH_PIECES_MAX } from '../../core/hash-batch.ts'
import type { PieceIndex } from '../../core/metainfo.ts'

/** Hashes for one call to the tracker: pieces from `first` on, fetched under one lease. */
export interface Publication {
  first: PieceIndex
  lease: string
  /** SHA-256 of each piece, 32 bytes. */
  hashes: Buffer[]
}

/** Hashes of pieces that this node fetched under a lease and has not published yet. */
export class PendingHashes {
  readonly #pieces = new Map<PieceIndex, { hash: Buffer; lease: string }>()

  get size(): number {
    return this.#pieces.size
  }

  add(piece: PieceIndex, hash: Buffer, lease: string): void {
    this.#pieces.set(piece, { hash, lease })
  }

  /** The first contiguous run, at most as long as one batch. */
  next(): Publication | undefined {
    const first = [...this.#pieces.keys()].sort((a, b) => a - b)[0]
    if (first === undefined) return undefined
    const { lease } = this.#pieces.get(first)!
    const hashes: Buffer[] = []
    for (let piece = first; hashes.length < BATCH_PIECES_MAX; piece = (piece + 1) as PieceIndex) {
      const entry = this.#pieces.get(piece)
      if (entry?.lease !== lease) break
      hashes.push(entry.hash)
    }
    return { first, lease, hashes }
  }

  /** The tracker accepted the hashes or no longer wants them. The pieces stay for this node's own reader. */
  settle({ first, hashes }: Publication): void {
    for (let at = 0; at < hashes.length; at++) this.#pieces.delete((first + at) as PieceIndex)
  }
}
