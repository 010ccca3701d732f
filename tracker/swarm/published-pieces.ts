import { type NodeId, PIECE_HASH_BYTES } from '../../core/metainfo.ts'

export interface Publisher {
  node: NodeId
  pull: string
}

const NO_HASHES = Buffer.alloc(0)

/**
 * The published hashes of one swarm, and whose word they are. Invariant: takes memory from the first hash on, not
 * before, since whoever has a pull granted makes a swarm and may say how long it is.
 */
export class PublishedPieces {
  readonly #pieceCount: number
  #hashes: Buffer = NO_HASHES
  #publishers: (Publisher | undefined)[] = []
  /** Each once, by its pull: one publishes many pieces. */
  readonly #known = new Map<string, Publisher>()
  #count = 0

  constructor(pieceCount: number) {
    this.#pieceCount = pieceCount
  }

  /** How many are published. */
  get count(): number {
    return this.#count
  }

  /** Pieces that there is memory for: all or none. */
  get held(): number {
    return this.#publishers.length
  }

  has(piece: number): boolean {
    return this.#publishers[piece] !== undefined
  }

  publisherOf(piece: number): Publisher | undefined {
    return this.#publishers[piece]
  }

  /** SHA-256 of pieces [firstPiece, firstPiece + pieces), which must all be published; the bytes change with them. */
  hashesOf(firstPiece: number, pieces: number): Buffer {
    return this.#hashes.subarray(firstPiece * PIECE_HASH_BYTES, (firstPiece + pieces) * PIECE_HASH_BYTES)
  }

  isHash(piece: number, hash: Buffer): boolean {
    return this.has(piece) && this.hashesOf(piece, 1).equals(hash)
  }

  publishedBy(node: NodeId): number[] {
    return this.#publishers.flatMap((publisher, piece) => (publisher?.node === node ? [piece] : []))
  }

  put(piece: number, hash: Buffer, publisher: Publisher): void {
    if (this.held === 0) {
      this.#hashes = Buffer.alloc(this.#pieceCount * PIECE_HASH_BYTES)
      this.#publishers = new Array(this.#pieceCount).fill(undefined)
    }
    hash.copy(this.#hashes, piece * PIECE_HASH_BYTES)
    this.#publishers[piece] = this.#knownAs(publisher)
    this.#count += 1
  }

  #knownAs(publisher: Publisher): Publisher {
    const known = this.#known.get(publisher.pull)
    if (known?.node === publisher.node) return known
    this.#known.set(publisher.pull, publisher)
    return publisher
  }

  drop(piece: number): void {
    this.#publishers[piece] = undefined
    this.#count -= 1
  }
}
