import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'

/**
 * Which connected nodes have which pieces of one blob, as they say: peers that this node downloads from, and those that it
 * serves. For the order of uploads only: nothing is asked for on the word of a downloader. Pure.
 */
export class PieceHolders {
  readonly #pieceCount: number
  readonly #counts: Uint16Array
  readonly #had = new Map<NodeId, Bitfield>()

  constructor(pieceCount: number) {
    this.#pieceCount = pieceCount
    this.#counts = new Uint16Array(pieceCount)
  }

  /** @returns false when all of it was known */
  note(node: NodeId, pieces: Iterable<PieceIndex>): boolean {
    const had = this.#had.get(node) ?? new Bitfield(this.#pieceCount)
    this.#had.set(node, had)
    let isNews = false
    for (const piece of pieces) {
      if (!had.add(piece)) continue
      this.#counts[piece]! += 1
      isNews = true
    }
    return isNews
  }

  /** The node is not connected any more. */
  forget(node: NodeId): void {
    const had = this.#had.get(node)
    if (had === undefined) return
    this.#had.delete(node)
    for (let piece = 0 as PieceIndex; piece < this.#pieceCount; piece++)
      if (had.has(piece)) this.#counts[piece]! -= 1
  }

  /** How many nodes have the piece. */
  countOf(piece: PieceIndex): number {
    return this.#counts[piece]!
  }

  /** How many pieces the node has. */
  piecesOf(node: NodeId): number {
    return this.#had.get(node)?.count ?? 0
  }
}
