import { fstatSync } from 'node:fs'
import type { PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { type Hashing, isPieceRight, isWholeRight } from '../store/damage.ts'

/**
 * How long a whole blob counts as right while nobody writes to its file: a disk loses bytes slowly, and what was just read
 * is in the page cache. Hashing takes a processor about 1.3 s for each GiB.
 */
export const RIGHT_MS = 10 * 60_000

/**
 * Makes sure that what local readers get is still what was verified: a disk may have changed since. A piece is hashed before
 * it is read, unless it was verified lately and its file was not written since. The next piece is hashed while one is read.
 */
export class ReadCheck {
  readonly #stored: StoredBlob
  readonly #verifier: Hashing
  readonly #onStep: () => void
  readonly #hashOf: (piece: PieceIndex) => Buffer | undefined
  #right: Bitfield
  /** Last write to the file of the whole blob when `#right` began; a part is written all the time, by this node. */
  #writtenNs: bigint | undefined
  #sinceMs = 0
  readonly #checking = new Map<PieceIndex, Promise<boolean>>()
  #checkingWhole: Promise<boolean> | undefined

  /** @param hashOf the hash that a piece had when it was stored, or its signed one @param onStep bytes are being hashed */
  constructor(
    stored: StoredBlob,
    {
      verifier,
      hashOf,
      onStep,
    }: { verifier: Hashing; hashOf(piece: PieceIndex): Buffer | undefined; onStep(): void },
  ) {
    this.#stored = stored
    this.#verifier = verifier
    this.#hashOf = hashOf
    this.#onStep = onStep
    this.#right = new Bitfield(stored.layout.pieceCount)
  }

  /** The piece was verified and written just now. */
  arrived(piece: PieceIndex): void {
    this.#right.add(piece)
  }

  /** The blob is whole and matched: nobody writes to its file any more. */
  completed(): void {
    this.#writtenNs = this.#lastWriteNs()
    this.#sinceMs = performance.now()
  }

  /** Everything is hashed again before it is read. */
  forget(): void {
    this.#right = new Bitfield(this.#stored.layout.pieceCount)
    this.#writtenNs = undefined
  }

  /** The file is held open. */
  isKnownRight(piece: PieceIndex): boolean {
    if (this.#stored.isComplete && !this.#isFresh()) {
      this.forget()
      this.completed()
    }
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

  #isFresh(): boolean {
    return this.#writtenNs === this.#lastWriteNs() && performance.now() - this.#sinceMs < RIGHT_MS
  }

  #lastWriteNs(): bigint {
    return fstatSync(this.#stored.file.fd, { bigint: true }).mtimeNs
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
    this.#checkingWhole ??= isWholeRight(this.#stored, this.#verifier, async () => this.#onStep()).finally(
      () => {
        this.#checkingWhole = undefined
      },
    )
    if (!(await this.#checkingWhole)) return false
    for (let at = 0; at < right.pieceCount; at++) right.add(at as PieceIndex)
    return true
  }
}
