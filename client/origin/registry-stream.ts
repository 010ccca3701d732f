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
  readonly #chunks: AsyncIterator<readonly Buffer[]>
  readonly #allowDownload: (bytes: number) => number
  readonly #signal: AbortSignal
  /** What arrived together, and the chunk that is being read. */
  #arrived: readonly Buffer[] = []
  #chunk: Buffer | undefined
  #index = -1
  #filling: Promise<void> | undefined
  #at = 0

  constructor(options: {
    layout: PieceLayout
    firstPiece: number
    /** The registry's bytes from the first piece on. */
    chunks: AsyncIterable<readonly Buffer[]>
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
    while (left > 0) {
      if (!this.#hasBytes()) await this.#fill()
      left -= this.#take(left).length
    }
    this.piece = piece
  }

  /** Reads the next piece into `target`. @throws OriginRefusedError when the registry ends early */
  async readPiece(target: Uint8Array, length: number): Promise<void> {
    for (let filled = 0; filled < length; ) {
      if (!this.#hasBytes()) await this.#fill()
      const part = this.#take(length - filled)
      target.set(part, filled)
      filled += part.length
    }
    this.piece += 1
  }

  /** Ends the answer, also in the middle. */
  async end(): Promise<void> {
    await this.#chunks.return?.()
  }

  /** The next bytes, at most `bytesMax`. Call when there are some. */
  #take(bytesMax: number): Buffer {
    const part = this.#chunk!.subarray(this.#at, this.#at + bytesMax)
    this.#at += part.length
    return part
  }

  /** More can be taken without waiting for the registry or the permitted rate. */
  #hasBytes(): boolean {
    if (this.#chunk !== undefined && this.#at < this.#chunk.length) return true
    const next = this.#arrived[this.#index + 1]
    if (next === undefined || this.#filling !== undefined || this.#allowDownload(next.length) > 0)
      return false
    this.#advance(next)
    return true
  }

  #advance(chunk: Buffer): void {
    this.#index += 1
    this.#chunk = chunk
    this.#at = 0
  }

  async #fill(): Promise<void> {
    this.#filling ??= this.#fillOnce().finally(() => {
      this.#filling = undefined
    })
    await this.#filling
  }

  async #fillOnce(): Promise<void> {
    while (!this.#chunk || this.#at >= this.#chunk.length) {
      if (this.#index + 1 >= this.#arrived.length) {
        const { value, done } = await this.#chunks.next()
        if (done) throw new OriginRefusedError('the registry ended a blob early')
        this.#arrived = value as readonly Buffer[]
        this.#index = -1
      }
      const next = this.#arrived[this.#index + 1]
      if (next === undefined) continue
      await this.#waitForRate(next.length)
      this.#advance(next)
    }
  }

  async #waitForRate(bytes: number): Promise<void> {
    for (let waitMs = this.#allowDownload(bytes); waitMs > 0; waitMs = this.#allowDownload(bytes)) {
      await setTimeout(waitMs, undefined, { signal: this.#signal })
    }
  }
}
