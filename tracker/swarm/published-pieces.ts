import { type NodeId, PIECE_HASH_BYTES } from '../../core/metainfo.ts'

export interface Publisher {
  node: NodeId
  pull: string
}

const NO_HASHES = Buffer.alloc(0)

/**
 * The published hashes of one swarm, and who published them. Invariant: allocates memory with the first hash and not
 * before, because every granted pull makes a swarm, and its caller may choose the length.
 */
export class PublishedPieces {
  readonly #pieceCount: number
  #hashes: Buffer = NO_HASHES
  #publishers: (Publisher | undefined)[] = []
  /** One entry per pull, because one publisher publishes many pieces. */
  readonly #known = new Map<string, Publisher>()
  #count = 0

  constructor(pieceCount: number) {
    this.#pieceCount = pieceCount
  }

  /** Number of published pieces. */
  get count(): number {
    return this.#count
  }

  /** Pieces with allocated memory: all or none. */
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
