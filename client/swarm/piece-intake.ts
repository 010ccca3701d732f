import type { HashBatch } from '../../core/hash-batch.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import type { Verifier } from '../store/verifier.ts'
import type { AnnounceablePieces } from './announceable-pieces.ts'
import type { Announcements } from './announcements.ts'
import type { DigestCheck } from './digest-check.ts'

/** A whole piece in memory. */
export interface IncomingPiece {
  piece: PieceIndex
  buffer: PieceBuffer
  /** Bytes of the buffer that belong to the piece. */
  length: number
}

/** `known`: it was stored before. `wrong`: it does not have the required hash, and stays unreadable. */
export type IntakeOutcome = 'kept' | 'known' | 'wrong'

export interface PieceIntakeParts {
  stored: StoredBlob
  verifier: Verifier
  digestCheck: DigestCheck
  pieces: AnnounceablePieces
  announcements: Announcements
}

/**
 * The only way of a piece into the store: verify, write, announce. Invariant: a piece is in `stored.have` only after
 * it was verified and written, and is announced only where its signed hash is known and right.
 */
export class PieceIntake {
  readonly #parts: PieceIntakeParts

  constructor(parts: PieceIntakeParts) {
    this.#parts = parts
  }

  /**
   * Takes a piece that must match its signed hash.
   * @returns `unhashed`: its hash is unknown, or changed meanwhile (the epoch rose): the piece is requested again
   * @throws what writing throws
   */
  async fromPeer(incoming: IncomingPiece): Promise<IntakeOutcome | 'unhashed'> {
    const expected = this.#signedHash(incoming.piece)
    if (expected === undefined) return 'unhashed'
    const hash = await this.#write(incoming, expected)
    if (hash !== expected) return 'wrong'
    return this.#signedHash(incoming.piece) === expected ? this.#keep(incoming.piece, hash) : 'unhashed'
  }

  /**
   * Takes a piece from the registry. It must match its hash only where two nodes vouched for that.
   * @throws what writing throws
   */
  async fromRegistry(incoming: IncomingPiece): Promise<{ outcome: IntakeOutcome; hash: Buffer }> {
    const expected = this.#parts.stored.hashes.isConfirmed ? this.#signedHash(incoming.piece) : undefined
    const hash = await this.#write(incoming, expected)
    const isWrong = expected !== undefined && hash !== expected
    return { outcome: isWrong ? 'wrong' : this.#keep(incoming.piece, hash), hash: Buffer.from(hash, 'hex') }
  }

  /** In hex, as it is now: the bytes change when another hash is confirmed. */
  #signedHash(piece: PieceIndex): string | undefined {
    return this.#parts.stored.hashes.get(piece)?.toString('hex')
  }

  /** Writes the piece when it has the expected hash, or none is expected. @returns its SHA-256 in hex */
  #write({ piece, buffer, length }: IncomingPiece, expected: string | undefined): Promise<string> {
    const { stored, verifier, digestCheck } = this.#parts
    const job = { length, position: piece * stored.layout.pieceBytes, expected, whole: digestCheck.handle }
    return stored.withFile((file) => verifier.piece(buffer, { ...job, file }))
  }

  #keep(piece: PieceIndex, hash: string): IntakeOutcome {
    const { stored, pieces, announcements, digestCheck } = this.#parts
    if (stored.have.has(piece)) return 'known'
    pieces.add(piece, Buffer.from(hash, 'hex'))
    if (pieces.isAnnounceable(piece)) announcements.add([], [piece])
    digestCheck.advance()
    return 'kept'
  }

  /**
   * Takes a batch whose signature was checked, and announces it with the stored pieces that it covers.
   * @returns true when it said something new
   */
  learn(batch: HashBatch): boolean {
    const announced = this.#parts.pieces.learn(batch)
    if (announced) this.#parts.announcements.add([batch], announced)
    return announced !== undefined
  }
}
