import type { PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { type Hashing, isPieceRight, isWholeRight } from '../store/damage.ts'

/**
 * Makes sure that what local readers get is still what was verified: a disk may have changed since. Each piece is hashed
 * once while there are readers, and not at all if it arrived meanwhile. The next piece is hashed while one is read.
 */
export class ReadCheck {
  readonly #stored: StoredBlob
  readonly #verifier: Hashing
  readonly #hashOf: (piece: PieceIndex) => Buffer | undefined
  #right: Bitfield
  readonly #checking = new Map<PieceIndex, Promise<boolean>>()
  #checkingWhole: Promise<boolean> | undefined

  /** @param hashOf the hash that a piece had when it was stored, or its signed one */
  constructor(
    stored: StoredBlob,
    { verifier, hashOf }: { verifier: Hashing; hashOf(piece: PieceIndex): Buffer | undefined },
  ) {
    this.#stored = stored
    this.#verifier = verifier
    this.#hashOf = hashOf
    this.#right = new Bitfield(stored.layout.pieceCount)
  }

  /** The piece was verified and written just now. */
  arrived(piece: PieceIndex): void {
    this.#right.add(piece)
  }

  /** No reader is left: the next one has everything hashed again. */
  forget(): void {
    this.#right = new Bitfield(this.#stored.layout.pieceCount)
  }

  isKnownRight(piece: PieceIndex): boolean {
    return this.#right.has(piece)
  }

  /**
   * @param isNextWanted the reader will go on behind it
   * @returns false for a piece that is no longer right; the caller drops it @throws what hashing throws
   */
  async isRight(piece: PieceIndex, isNextWanted: boolean): Promise<boolean> {
    const checking = this.#check(piece)
    const next = (piece + 1) as PieceIndex
    // Whoever reads it sees the error.
    if (isNextWanted && this.#stored.have.has(next)) this.#check(next).catch(() => undefined)
    return checking
  }

  #check(piece: PieceIndex): Promise<boolean> {
    if (this.#right.has(piece)) return Promise.resolve(true)
    const running = this.#checking.get(piece)
    if (running) return running
    const checking = this.#hash(piece).finally(() => this.#checking.delete(piece))
    this.#checking.set(piece, checking)
    return checking
  }

  async #hash(piece: PieceIndex): Promise<boolean> {
    const right = this.#right
    const { isMatched } = this.#stored
    const expected = this.#hashOf(piece)
    if (expected !== undefined && (await isPieceRight(this.#stored, piece, this.#verifier, expected))) {
      right.add(piece)
      return true
    }
    if (!isMatched) return false
    // The tracker signed no hash of it, or a wrong one: the digest decides about all pieces together.
    this.#checkingWhole ??= isWholeRight(this.#stored, this.#verifier).finally(() => {
      this.#checkingWhole = undefined
    })
    if (!(await this.#checkingWhole)) return false
    for (let at = 0; at < right.pieceCount; at++) right.add(at as PieceIndex)
    return true
  }
}
