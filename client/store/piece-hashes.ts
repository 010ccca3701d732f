import { BATCH_PIECES_MAX, batchPieceCount, type HashBatch } from '../../core/hash-batch.ts'
import { PIECE_HASH_BYTES, type PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from './bitfield.ts'

/**
 * The known piece hashes of a swarm: signed batches of one epoch. Invariant: every hash comes from a batch in
 * `batches`. Batches of older epochs are refused, and one of a newer epoch replaces all. Claims never replace
 * confirmed hashes. Callers of `add` have checked the signature.
 */
export class PieceHashes {
  readonly pieceCount: number
  #epochNow = 0
  #known: Bitfield
  #confirmed: Bitfield
  readonly #hashes: Buffer
  #kept: HashBatch[] = []

  constructor(pieceCount: number) {
    this.pieceCount = pieceCount
    this.#known = new Bitfield(pieceCount)
    this.#confirmed = new Bitfield(pieceCount)
    this.#hashes = Buffer.alloc(pieceCount * PIECE_HASH_BYTES)
  }

  get epoch(): number {
    return this.#epochNow
  }

  /** Every hash is known. */
  get isComplete(): boolean {
    return this.#known.isFull
  }

  /** Two nodes have matched the whole blob under these hashes: verified pieces are enough now. */
  get isConfirmed(): boolean {
    return this.#confirmed.isFull
  }

  get batches(): readonly HashBatch[] {
    return this.#kept
  }

  has(piece: PieceIndex): boolean {
    return this.#known.has(piece)
  }

  /** Undefined when all are known. */
  firstUnknown(): PieceIndex | undefined {
    const piece = this.#known.firstMissing()
    return piece < this.pieceCount ? (piece as PieceIndex) : undefined
  }

  /** 32 bytes, or undefined while unknown. */
  get(piece: PieceIndex): Buffer | undefined {
    if (!this.#known.has(piece)) return undefined
    return this.#hashes.subarray(piece * PIECE_HASH_BYTES, (piece + 1) * PIECE_HASH_BYTES)
  }

  /**
   * The batch repeats known hashes byte for byte. A batch that says something else must be checked for its signature.
   */
  includes({ epoch, status, firstPiece, hashes }: HashBatch): boolean {
    if (epoch !== this.#epochNow) return false
    const end = firstPiece + batchPieceCount({ hashes })
    const settled = status === 'confirmed' ? this.#confirmed : this.#known
    if (settled.firstMissing(firstPiece) < end) return false
    return this.#slice(firstPiece, end).equals(hashes)
  }

  /** All known hashes, in runs of at most one batch. */
  runs(): { firstPiece: number; pieces: number; hashes: Buffer }[] {
    const runs: { firstPiece: number; pieces: number; hashes: Buffer }[] = []
    for (let at = 0; at < this.pieceCount; ) {
      const firstPiece = at
      while (at < this.pieceCount && at - firstPiece < BATCH_PIECES_MAX && this.#known.has(at as PieceIndex))
        at++
      if (at === firstPiece) at++
      else runs.push({ firstPiece, pieces: at - firstPiece, hashes: this.#slice(firstPiece, at) })
    }
    return runs
  }

  /**
   * The same hashes under another signature: these batches replace those that they cover. Hashes that they do not
   * confirm are no longer confirmed.
   */
  renew(batches: readonly HashBatch[]): void {
    const renewed = batches.filter((batch) => this.includes(batch))
    const covered = new Bitfield(this.pieceCount)
    for (const batch of renewed) for (const piece of piecesOf(batch)) covered.add(piece)
    const left = this.#kept.filter((batch) => !piecesOf(batch).every((piece) => covered.has(piece)))
    this.#rebuild([...left, ...renewed])
  }

  /** Keeps only the hashes of batches for which `isGood`. @returns the pieces that have no hash any more */
  retain(isGood: (batch: HashBatch) => boolean): PieceIndex[] {
    const good = this.#kept.filter(isGood)
    if (good.length === this.#kept.length) return []
    const before = this.#known
    this.#rebuild(good)
    const lost: PieceIndex[] = []
    for (let piece = 0 as PieceIndex; piece < this.pieceCount; piece++)
      if (before.has(piece) && !this.#known.has(piece)) lost.push(piece)
    return lost
  }

  /** Drops everything of epochs before `epoch`. @returns true when it did */
  raiseEpoch(epoch: number): boolean {
    if (epoch <= this.#epochNow) return false
    this.#epochNow = epoch
    this.#known = new Bitfield(this.pieceCount)
    this.#confirmed = new Bitfield(this.pieceCount)
    this.#kept = []
    return true
  }

  /** @returns true when the batch said something new */
  add(batch: HashBatch): boolean {
    if (batch.epoch < this.#epochNow || batch.firstPiece + batchPieceCount(batch) > this.pieceCount)
      return false
    this.raiseEpoch(batch.epoch)
    const isNews = this.#take(batch)
    if (isNews) this.#keep(batch)
    return isNews
  }

  #rebuild(batches: readonly HashBatch[]): void {
    this.#known = new Bitfield(this.pieceCount)
    this.#confirmed = new Bitfield(this.pieceCount)
    this.#kept = []
    for (const batch of batches) this.add(batch)
  }

  #slice(from: number, to: number): Buffer {
    return this.#hashes.subarray(from * PIECE_HASH_BYTES, to * PIECE_HASH_BYTES)
  }

  #take(batch: HashBatch): boolean {
    let isNews = false
    for (let at = 0; at < batchPieceCount(batch); at++) {
      const piece = (batch.firstPiece + at) as PieceIndex
      if (this.#confirmed.has(piece)) continue
      const isConfirming = batch.status === 'confirmed' && this.#confirmed.add(piece)
      if (!isConfirming && this.#known.has(piece)) continue
      this.#known.add(piece)
      batch.hashes.copy(
        this.#hashes,
        piece * PIECE_HASH_BYTES,
        at * PIECE_HASH_BYTES,
        (at + 1) * PIECE_HASH_BYTES,
      )
      isNews = true
    }
    return isNews
  }

  /** A confirmed batch replaces the claims that it covers. */
  #keep(batch: HashBatch): void {
    const end = batch.firstPiece + batchPieceCount(batch)
    const isCovered = (other: HashBatch) =>
      other.firstPiece >= batch.firstPiece && other.firstPiece + batchPieceCount(other) <= end
    if (batch.status === 'confirmed') this.#kept = this.#kept.filter((other) => !isCovered(other))
    this.#kept.push(batch)
  }
}

function piecesOf(batch: HashBatch): PieceIndex[] {
  return Array.from({ length: batchPieceCount(batch) }, (_, at) => (batch.firstPiece + at) as PieceIndex)
}
