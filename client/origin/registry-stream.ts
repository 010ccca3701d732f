import { setTimeout } from 'node:timers/promises'
import type { PieceIndex, PieceLayout } from '../../core/metainfo.ts'
import { OriginRefusedError } from '../errors.ts'

/**
 * One answer of the registry, read piece by piece. Invariant: `piece` is the next piece that it yields, from its
 * first byte on.
 */
export class RegistryStream {
  piece: number
  readonly #layout: PieceLayout
  readonly #chunks: AsyncIterator<Buffer>
  readonly #allowDownload: (bytes: number) => number
  readonly #signal: AbortSignal
  #chunk: Buffer | undefined
  #filling: Promise<Buffer> | undefined
  #at = 0

  constructor(options: {
    layout: PieceLayout
    firstPiece: number
    /** The registry's bytes from the first piece on; a chunk is valid until the next is requested. */
    chunks: AsyncIterable<Buffer>
    /** @returns 0 when this many bytes may arrive now, else the ms to wait */
    allowDownload(bytes: number): number
    signal: AbortSignal
  }) {
    this.#layout = options.layout
    this.piece = options.firstPiece
    this.#chunks = options.chunks[Symbol.asyncIterator]()
    this.#allowDownload = options.allowDownload
    this.#signal = options.signal
  }

  /** Makes the registry begin its answer; the rest waits in the connection. */
  async open(): Promise<void> {
    await this.#fill()
  }

  /** Reads and drops pieces that another source delivered meanwhile. */
  async skipTo(piece: PieceIndex): Promise<void> {
    let left = (piece - this.piece) * this.#layout.pieceBytes
    while (left > 0) left -= (await this.#next(left)).length
    this.piece = piece
  }

  /** Reads the next piece into `target`. @throws OriginRefusedError when the registry ends early */
  async readPiece(target: Uint8Array, length: number): Promise<void> {
    for (let filled = 0; filled < length; ) {
      const part = await this.#next(length - filled)
      target.set(part, filled)
      filled += part.length
    }
    this.piece += 1
  }

  /** Ends the answer, also in the middle. */
  async end(): Promise<void> {
    await this.#chunks.return?.()
  }

  /** The next bytes, at most `bytesMax`. */
  async #next(bytesMax: number): Promise<Buffer> {
    const chunk = await this.#fill()
    const part = chunk.subarray(this.#at, this.#at + bytesMax)
    this.#at += part.length
    return part
  }

  async #fill(): Promise<Buffer> {
    this.#filling ??= this.#fillOnce().finally(() => {
      this.#filling = undefined
    })
    return this.#filling
  }

  async #fillOnce(): Promise<Buffer> {
    while (!this.#chunk || this.#at >= this.#chunk.length) {
      const { value, done } = await this.#chunks.next()
      if (done) throw new OriginRefusedError('the registry ended a blob early')
      this.#chunk = value as Buffer
      this.#at = 0
      await this.#waitForRate(this.#chunk.length)
    }
    return this.#chunk
  }

  async #waitForRate(bytes: number): Promise<void> {
    for (let waitMs = this.#allowDownload(bytes); waitMs > 0; waitMs = this.#allowDownload(bytes)) {
      await setTimeout(waitMs, undefined, { signal: this.#signal })
    }
  }
}
