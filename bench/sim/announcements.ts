import type { PieceIndex } from '../../core/metainfo.ts'

/**
 * What every node announced, in order, in a few dense arrays: peers read on from where they stopped. One message for
 * each peer and piece would cost more than all that is decided.
 */
export class Announcements {
  /** How many pieces a node has announced. */
  readonly counts: Uint16Array
  /** 1 for a node that is receiving nothing: it takes in at once what its peers say. */
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

  /** What the node has announced after the first `seen`. */
  since(node: number, seen: number): Iterable<PieceIndex> {
    const first = node * this.#pieceCount
    return this.#pieces.subarray(
      first + seen,
      first + this.counts[node]!,
    ) as Iterable<number> as Iterable<PieceIndex>
  }
}
