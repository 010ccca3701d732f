import type { PieceIndex } from '../../core/metainfo.ts'

/**
 * All announcements of every node, in order, in a few dense arrays; peers continue reading where they stopped. A
 * message for each peer and piece would cost more than all decisions together.
 */
export class Announcements {
  /** How many pieces a node has announced. */
  readonly counts: Uint16Array
  /** 1 for a node that receives nothing: it reads its peers' announcements at once. */
  readonly isListening: Uint8Array
  readonly #pieces: Uint16Array
  readonly #pieceCount: number

  constructor(nodes: number, pieceCount: number) {
    this.counts = new Uint16Array(nodes)
    this.isListening = new Uint8Array(nodes).fill(1)
    this.#pieces = new Uint16Array(nodes * pieceCount)
    this.#pieceCount = pieceCount
  }

  add(node: number, piece: PieceIndex): void {
    this.#pieces[node * this.#pieceCount + this.counts[node]!] = piece
    this.counts[node]! += 1
  }

  /** The node's announcements after the first `seen`. */
  since(node: number, seen: number): Iterable<PieceIndex> {
    const first = node * this.#pieceCount
    return this.#pieces.subarray(
      first + seen,
      first + this.counts[node]!,
    ) as Iterable<number> as Iterable<PieceIndex>
  }
}
