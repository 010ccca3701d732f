import type { PieceIndex } from '../../core/metainfo.ts'

/** The right to write one piece, from its beginning; of no use after `end`. Made by `PieceWrites` only. */
export interface PieceWriter {
  readonly piece: PieceIndex
  /** It writes blocks as they arrive, before anybody knows whether the piece is right. */
  readonly isStream: boolean
}

/** A piece with a writer, or with writes in flight. */
interface WrittenPiece {
  /** Who may begin writes. */
  writer: PieceWriter | undefined
  /** Writes that have begun and not ended; all of one writer. */
  inFlight: number
  /** Called when the writer ends, or the last write in flight. */
  waiting: (() => void)[]
}

/**
 * Who may write which piece of a blob. Blocks go to the file before anybody knows whether their piece is right, and
 * several copies of a piece may arrive at once. Rules: one writer at a time; a new one begins only when no write of an
 * earlier one is in flight, and writes the whole piece; a copy that was verified in memory stops a stream, and waits
 * for another whole copy; a piece becomes readable when its present writer has written all of it, no write is in
 * flight, and the hash matched; a readable piece is never written again. Pure.
 */
export class PieceWrites {
  readonly #isReadable: (piece: PieceIndex) => boolean
  readonly #pieces = new Map<PieceIndex, WrittenPiece>()
  /** Somebody has had the right to write. */
  isUsed = false

  constructor(isReadable: (piece: PieceIndex) => boolean) {
    this.#isReadable = isReadable
  }

  /** Pieces with a writer or a write in flight. */
  get size(): number {
    return this.#pieces.size
  }

  /** @returns undefined when the piece is readable or being written: this copy waits in memory */
  begin(piece: PieceIndex, { isStream }: Pick<PieceWriter, 'isStream'>): PieceWriter | undefined {
    if (this.#isReadable(piece) || this.#pieces.has(piece)) return undefined
    return this.#admit({ piece, isStream })
  }

  /**
   * For a whole copy in memory that is to be written although another copy may be on its way.
   * @returns undefined when the piece became readable meanwhile
   */
  async takeOver(piece: PieceIndex): Promise<PieceWriter | undefined> {
    for (;;) {
      if (this.#isReadable(piece)) return undefined
      const written = this.#pieces.get(piece)
      if (written?.writer?.isStream) written.writer = undefined
      if (!written?.writer && !written?.inFlight) return this.#admit({ piece, isStream: false })
      await new Promise<void>((resolve) => written.waiting.push(resolve))
    }
  }

  #admit(writer: PieceWriter): PieceWriter {
    this.isUsed = true
    const written = this.#pieces.get(writer.piece)
    if (written) written.writer = writer
    else this.#pieces.set(writer.piece, { writer, inFlight: 0, waiting: [] })
    return writer
  }

  /**
   * A write is about to begin; `writeEnds` follows.
   * @returns false when it must not begin: somebody else writes the piece now, or it is readable
   */
  writeBegins(writer: PieceWriter): boolean {
    const written = this.#pieces.get(writer.piece)
    if (written?.writer !== writer || this.#isReadable(writer.piece)) return false
    written.inFlight += 1
    return true
  }

  writeEnds({ piece }: PieceWriter): void {
    const written = this.#pieces.get(piece)!
    written.inFlight -= 1
    this.#settle(piece, written)
  }

  /**
   * Call when all of the piece was written and its hash matched. If it is true, make the piece readable in the same
   * turn.
   */
  mayBeRead(writer: PieceWriter): boolean {
    const written = this.#pieces.get(writer.piece)
    return written?.writer === writer && written.inFlight === 0
  }

  /** The writer begins no more writes. Those in flight still keep others from beginning. */
  end(writer: PieceWriter): void {
    const written = this.#pieces.get(writer.piece)
    if (written?.writer !== writer) return
    written.writer = undefined
    this.#settle(writer.piece, written)
  }

  #settle(piece: PieceIndex, written: WrittenPiece): void {
    if (written.inFlight > 0) return
    if (written.writer === undefined) this.#pieces.delete(piece)
    for (const wake of written.waiting.splice(0)) wake()
  }
}
