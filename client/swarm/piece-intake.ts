import type { HashBatch } from '../../core/hash-batch.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import type { StreamedPiece } from '../store/piece-stream.ts'
import type { PieceWriter } from '../store/piece-writes.ts'
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
 * it was verified and written and while nobody writes it (store/piece-writes.ts), and is announced only where its signed
 * hash is known and right.
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
    const { piece } = incoming
    const expected = this.#signedHash(piece)
    if (expected === undefined) return 'unhashed'
    return this.#write(incoming, expected, (hash, mayBeRead) => {
      if (hash !== expected) return 'wrong'
      return this.#judge(piece, hash, mayBeRead)
    })
  }

  /** The same for a piece that was written as it arrived. */
  async fromStream(stream: StreamedPiece): Promise<IntakeOutcome | 'unhashed'> {
    const { piece } = stream
    const expected = this.#signedHash(piece)
    if (expected === undefined) return 'unhashed'
    const hash = await stream.hash()
    this.#parts.verifier.pieceVerified()
    if (hash !== undefined && hash !== expected) return 'wrong'
    return this.#judge(piece, expected, hash !== undefined && stream.mayBeRead)
  }

  /** The piece has the hash that was expected of it: the hash may be another by now. */
  #judge(piece: PieceIndex, hash: string, mayBeRead: boolean): IntakeOutcome | 'unhashed' {
    if (this.#signedHash(piece) !== hash) return 'unhashed'
    if (mayBeRead) return this.#keep(piece, hash)
    return this.#parts.stored.have.has(piece) ? 'known' : 'unhashed'
  }

  /**
   * Takes a piece from the registry. It must match its hash only where two nodes vouched for that.
   * @throws what writing throws
   */
  async fromRegistry(incoming: IncomingPiece): Promise<{ outcome: IntakeOutcome; hash: Buffer }> {
    const expected = this.#parts.stored.hashes.isConfirmed ? this.#signedHash(incoming.piece) : undefined
    return this.#write(incoming, expected, (hash, mayBeRead) => {
      const isWrong = expected !== undefined && hash !== expected
      const kept = () => (mayBeRead ? this.#keep(incoming.piece, hash) : 'known')
      return { outcome: isWrong ? 'wrong' : kept(), hash: Buffer.from(hash, 'hex') }
    })
  }

  /** In hex, as it is now: the bytes change when another hash is confirmed. */
  #signedHash(piece: PieceIndex): string | undefined {
    return this.#parts.stored.hashes.get(piece)?.toString('hex')
  }

  /**
   * Writes the piece when it has the expected hash, or none is expected. While another copy of it is being written, it is
   * verified first; a piece that can be read already is not written again.
   * @param judge gets the SHA-256 in hex, and whether the file holds this copy, so that it may be read
   */
  async #write<Verdict>(
    incoming: IncomingPiece,
    expected: string | undefined,
    judge: (hash: string, mayBeRead: boolean) => Verdict,
  ): Promise<Verdict> {
    const { stored, verifier } = this.#parts
    let writer = stored.writes.begin(incoming.piece, { isStream: false })
    if (!writer) {
      const hash = await verifier.hash(incoming.buffer, incoming.length)
      if (expected !== undefined && hash !== expected) return judge(hash, false)
      writer = await stored.writes.takeOver(incoming.piece)
      if (!writer) return judge(hash, false)
    }
    try {
      const hash = await this.#writeAs(writer, incoming, expected)
      return judge(hash, stored.writes.mayBeRead(writer))
    } finally {
      stored.writes.end(writer)
    }
  }

  async #writeAs(
    writer: PieceWriter,
    { piece, buffer, length }: IncomingPiece,
    expected: string | undefined,
  ): Promise<string> {
    const { stored, verifier, digestCheck } = this.#parts
    const job = { length, position: piece * stored.layout.pieceBytes, expected, whole: digestCheck.handle }
    stored.writes.writeBegins(writer)
    try {
      return await stored.withFile((file) => verifier.piece(buffer, { ...job, file }))
    } finally {
      stored.writes.writeEnds(writer)
    }
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
