import { batchPieceCount, type HashBatch } from '../../core/hash-batch.ts'
import { allPieces, type PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'

/**
 * The stored pieces of a blob, and which of them may be announced. Invariant: a piece is announced only when its
 * signed hash is known and is the hash of the stored bytes. A piece from the registry is kept for this node's own
 * reader also without one. If its signed hash turns out to differ, that is a dispute.
 */
export class AnnounceablePieces {
  readonly #stored: StoredBlob
  /** Hashes of stored pieces without a signed hash that agrees. */
  readonly #unsigned = new Map<PieceIndex, Buffer>()

  constructor(stored: StoredBlob) {
    this.#stored = stored
  }

  /** The piece was verified and written. */
  add(piece: PieceIndex, hash: Buffer): void {
    if (!this.#stored.hashes.get(piece)?.equals(hash)) this.#unsigned.set(piece, hash)
    this.#stored.have.add(piece)
    this.#stored.markDirty()
  }

  /** The hash of the stored bytes, as far as it is known. */
  hashOf(piece: PieceIndex): Buffer | undefined {
    return this.#unsigned.get(piece) ?? this.#stored.hashes.get(piece)
  }

  /** The piece is no longer stored. */
  dropped(piece: PieceIndex): void {
    this.#unsigned.delete(piece)
  }

  isAnnounceable(piece: PieceIndex): boolean {
    return this.#stored.have.has(piece) && this.#stored.hashes.has(piece) && !this.#unsigned.has(piece)
  }

  announceable(): Bitfield {
    const field = new Bitfield(this.#stored.layout.pieceCount)
    for (const piece of allPieces(this.#stored.layout)) if (this.isAnnounceable(piece)) field.add(piece)
    return field
  }

  /**
   * Takes a batch whose signature was checked.
   * @returns the stored pieces that it allows to announce; undefined when it said nothing new
   */
  learn(batch: HashBatch): PieceIndex[] | undefined {
    if (!this.#stored.hashes.add(batch)) return undefined
    this.#stored.markDirty()
    const pieces = Array.from(
      { length: batchPieceCount(batch) },
      (_, at) => (batch.firstPiece + at) as PieceIndex,
    )
    for (const piece of pieces) {
      const own = this.#unsigned.get(piece)
      if (own && this.#stored.hashes.get(piece)?.equals(own)) this.#unsigned.delete(piece)
    }
    return pieces.filter((piece) => this.isAnnounceable(piece))
  }

  /** Pieces whose signed hash differs from the hash of the registry's bytes. */
  disputed(): { piece: PieceIndex; hash: Buffer }[] {
    return [...this.#unsigned]
      .filter(([piece]) => this.#stored.hashes.has(piece))
      .map(([piece, hash]) => ({ piece, hash }))
  }

  /**
   * Drops the hashes that no trusted key signed, and the pieces verified under them: the holder of a withdrawn key
   * may have invented them. A blob that was matched as a whole stays.
   * @returns true when hashes were dropped
   */
  retain(isSigned: (batch: HashBatch) => boolean): boolean {
    const dropped = this.#stored.hashes.retain(isSigned)
    if (dropped.length === 0) return false
    if (!this.#stored.isMatched) {
      // A piece from the registry that contradicts such a hash is still right.
      for (const piece of dropped) if (!this.#unsigned.has(piece)) this.#stored.have.delete(piece)
    }
    this.#stored.markDirty()
    return true
  }

  /**
   * Drops pieces verified under claims of an older epoch: they may be the wrong ones. A blob that was matched as a
   * whole stays.
   * @returns true when pieces were dropped
   */
  raiseEpoch(epoch: number): boolean {
    if (!this.#stored.hashes.raiseEpoch(epoch) || this.#stored.isMatched) return false
    for (const piece of allPieces(this.#stored.layout)) this.#stored.have.delete(piece)
    this.#unsigned.clear()
    this.#stored.markDirty()
    return true
  }
}
