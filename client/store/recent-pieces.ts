import type { PieceIndex } from '../../core/metainfo.ts'
import type { PieceBuffer, PieceBufferShare } from './piece-buffers.ts'

/** Bytes of one blob that stay in memory ahead of its readers; at least one piece. */
export const RECENT_BYTES_MAX = 8 * 1024 * 1024

interface RecentPiece {
  buffer: PieceBuffer
  /** Readers that are sending it. */
  users: number
  isDropped: boolean
}

/** A piece for one reader. Call `done` once, when its bytes have left. */
export interface PieceInUse {
  bytes: Uint8Array
  done(): void
}

/**
 * Verified pieces of a blob, in the memory that they arrived in, for the readers that come to them next: reading them back from
 * the file is a copy more. Invariant: a piece is here only while it is in the store under the hash that it was verified
 * against; whoever takes pieces out of the store clears this. Memory is given back when no reader uses it any more.
 */
export class RecentPieces {
  readonly #buffers: Pick<PieceBufferShare, 'keep' | 'releaseKept'>
  readonly #pieces = new Map<PieceIndex, RecentPiece>()

  constructor(buffers: Pick<PieceBufferShare, 'keep' | 'releaseKept'>) {
    this.#buffers = buffers
  }

  /**
   * @param position the piece that the first reader is at; undefined without one
   * @returns whether it took over the buffer
   */
  keep(piece: PieceIndex, buffer: PieceBuffer, position: number | undefined): boolean {
    this.#drop(piece)
    if (position === undefined || piece < position) return false
    const aheadBytes = (piece - position) * buffer.pieceBytes
    if (aheadBytes >= RECENT_BYTES_MAX || !this.#buffers.keep(buffer)) return false
    this.#pieces.set(piece, { buffer, users: 0, isDropped: false })
    return true
  }

  /** @returns undefined: read it from the file */
  use(piece: PieceIndex): PieceInUse | undefined {
    const recent = this.#pieces.get(piece)
    if (recent === undefined) return undefined
    recent.users += 1
    const done = () => {
      recent.users -= 1
      if (recent.isDropped && recent.users === 0) this.#buffers.releaseKept(recent.buffer)
    }
    return { bytes: recent.buffer.bytes, done }
  }

  /** All readers are at `position` or behind it. */
  dropBefore(position: number): void {
    for (const piece of this.#pieces.keys()) if (piece < position) this.#drop(piece)
  }

  clear(): void {
    for (const piece of this.#pieces.keys()) this.#drop(piece)
  }

  #drop(piece: PieceIndex): void {
    const recent = this.#pieces.get(piece)
    if (recent === undefined) return
    this.#pieces.delete(piece)
    recent.isDropped = true
    if (recent.users === 0) this.#buffers.releaseKept(recent.buffer)
  }
}
