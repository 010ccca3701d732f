import { createHash } from 'node:crypto'
import { type PieceIndex, pieceBytesAt } from '../../core/metainfo.ts'
import { writeFileSync } from './blob-file.ts'
import type { PieceBufferShare } from './piece-buffers.ts'
import type { PieceWriter } from './piece-writes.ts'
import type { SlowWrites } from './slow-writes.ts'
import type { StoredBlob } from './stored-blob.ts'
import type { Verifier } from './verifier.ts'

export interface PieceStreamParts {
  stored: StoredBlob
  /** Counts the bytes that are on their way, as it does for pieces in memory. */
  buffers: Pick<PieceBufferShare, 'book' | 'unbook'>
  verifier: Pick<Verifier, 'range' | 'write'>
  /** Of the node: its blobs are on one disk. */
  slowWrites: SlowWrites
}

/**
 * Opens a piece for writing as it arrives.
 * @returns undefined while another copy of it is being written, or when enough is on its way
 */
export function openPieceStream(parts: PieceStreamParts, piece: PieceIndex): PieceStream | undefined {
  const { stored, buffers } = parts
  const writer = stored.writes.begin(piece, { isStream: true })
  if (!writer) return undefined
  if (buffers.book(stored.layout.pieceBytes)) return new PieceStream(parts, writer)
  stored.writes.end(writer)
  return undefined
}

/** A stream as its users see it. */
export type StreamedPiece = Pick<PieceStream, 'piece' | 'write' | 'hash' | 'mayBeRead' | 'end'>

/**
 * One copy of a piece that goes to the file block by block: hashed and written while it is in the processor's cache,
 * with no memory of its own and no other thread. Nothing of it can be read before the whole piece matched its hash. When
 * the disk is slow, the verifying thread writes copies of the blocks. They are bounded as pieces in memory are: the piece
 * counts as on its way until the last of them is written, so that a stalled disk ends the requests, and holds up neither
 * sockets nor the event loop.
 */
export class PieceStream {
  readonly piece: PieceIndex
  readonly #parts: PieceStreamParts
  readonly #writer: PieceWriter
  readonly #release: () => void
  readonly #hash = createHash('sha256')
  /** Bytes from the beginning of the piece that are in `#hash`. */
  #hashedBytes = 0
  #failure: unknown
  /** A block was not written: a verified copy is written instead. */
  #isStopped = false
  #isEnded = false
  /** Writes in the thread; undefined when there are none. */
  #inFlight: Promise<void> | undefined

  constructor(parts: PieceStreamParts, writer: PieceWriter) {
    this.piece = writer.piece
    this.#parts = parts
    this.#writer = writer
    this.#release = parts.stored.pin()
  }

  /**
   * Takes a block: whole units of the cipher, or the end of the blob, each once. `bytes` may be reused afterwards. What
   * goes wrong shows in `hash`.
   */
  write(begin: number, bytes: Uint8Array): void {
    const { stored, slowWrites } = this.#parts
    if (this.#failure !== undefined) return
    if (!stored.writes.writeBegins(this.#writer)) {
      this.#isStopped = true
      return
    }
    if (begin === this.#hashedBytes) {
      this.#hash.update(bytes)
      this.#hashedBytes += bytes.length
    }
    if (slowWrites.isSlow) this.#writeLater(begin, Uint8Array.from(bytes))
    else this.#writeNow(begin, bytes)
  }

  #writeNow(begin: number, bytes: Uint8Array): void {
    const { stored, slowWrites } = this.#parts
    const startedAtMs = performance.now()
    try {
      writeFileSync(stored.file, bytes, this.#position + begin)
    } catch (error) {
      this.#failure = error
    }
    slowWrites.took(performance.now() - startedAtMs)
    stored.writes.writeEnds(this.#writer)
  }

  #writeLater(begin: number, bytes: Uint8Array<ArrayBuffer>): void {
    const { stored, verifier, slowWrites } = this.#parts
    const writing = verifier
      .write(stored.file, bytes, this.#position + begin)
      .then((ms) => slowWrites.took(ms))
      .catch((error: unknown) => {
        this.#failure ??= error
      })
      .then(() => {
        if (this.#inFlight === writing) this.#inFlight = undefined
        stored.writes.writeEnds(this.#writer)
      })
    // The thread does one after the other, so the last one to begin ends last.
    this.#inFlight = writing
  }

  get #position(): number {
    return this.piece * this.#parts.stored.layout.pieceBytes
  }

  /**
   * Call once, when all blocks were written.
   * @returns the SHA-256 in hex; undefined when a verified copy took over
   * @throws what writing or reading threw
   */
  async hash(): Promise<string | undefined> {
    if (this.#inFlight) await this.#inFlight
    if (this.#failure !== undefined) throw this.#failure
    if (this.#isStopped) return undefined
    const { stored, verifier } = this.#parts
    const length = pieceBytesAt(stored.layout, this.piece)
    if (this.#hashedBytes === length) return this.#hash.digest('hex')
    // Blocks came out of order. Counts as a write: nobody may write into what is being read.
    if (!stored.writes.writeBegins(this.#writer)) return undefined
    try {
      return await verifier.range(stored.file, { position: this.#position, length })
    } finally {
      stored.writes.writeEnds(this.#writer)
    }
  }

  /** The hash matched. If it is true, make the piece readable in the same turn. */
  get mayBeRead(): boolean {
    return this.#parts.stored.writes.mayBeRead(this.#writer)
  }

  /** Nothing more is written. Harmless when repeated. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#parts.stored.writes.end(this.#writer)
    if (this.#inFlight) void this.#inFlight.then(() => this.#leave())
    else this.#leave()
  }

  #leave(): void {
    this.#parts.buffers.unbook(this.#parts.stored.layout.pieceBytes)
    this.#release()
  }
}
