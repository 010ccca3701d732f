import { Worker } from 'node:worker_threads'
import { PIECE_BYTES_MAX, type PieceLayout } from '../../core/metainfo.ts'
import type { BlobFile } from './blob-file.ts'
import type { PieceBuffer } from './piece-buffers.ts'
import type { Job, JobResult } from './verify-worker.ts'

/** How much is hashed in one job: whole pieces, whatever their length (a power of two). */
const SHA1_STEP_BYTES = 2 * PIECE_BYTES_MAX

type WithoutNumber<T> = T extends Job ? Omit<T, 'job'> : never

interface Waiter {
  resolve(value: string): void
  reject(error: Error): void
  /** Whose memory is with the thread. */
  buffer: PieceBuffer | undefined
}

/** The verifying thread, as promises. Jobs run in the order in which they are asked for. */
export class Verifier {
  private readonly worker: Worker
  private readonly waiting = new Map<number, Waiter>()
  private jobs = 0
  private wholes = 0

  constructor() {
    this.worker = new Worker(new URL('./verify-worker.ts', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    })
    this.worker.unref()
    this.worker.on('message', (result: JobResult) => this.settle(result))
    this.worker.on('error', (error) => this.failAll(error))
  }

  /**
   * Hashes a piece and, when it has the expected hash or none is expected, writes it.
   * @returns its SHA-256 in hex
   */
  piece(
    buffer: PieceBuffer,
    job: {
      length: number
      file: BlobFile
      position: number
      expected: string | undefined
      whole: number | undefined
    },
  ): Promise<string> {
    return this.run({ kind: 'piece', bytes: buffer.bytes, ...job }, buffer)
  }

  /** Begins the SHA-256 of a whole blob. @returns its handle */
  beginWhole(): number {
    this.wholes += 1
    return this.wholes
  }

  advanceWhole(whole: number, file: BlobFile, to: number): Promise<string> {
    return this.run({ kind: 'advance', whole, file, to })
  }

  /** @returns the hex digest */
  endWhole(whole: number): Promise<string> {
    return this.run({ kind: 'end', whole })
  }

  /** In steps, so that pieces waiting to be verified get their turn. @returns 20 bytes a piece */
  async sha1OfPieces(file: BlobFile, { blobBytes, pieceBytes }: PieceLayout): Promise<Buffer> {
    const hashes: string[] = []
    for (let from = 0; from < blobBytes; from += SHA1_STEP_BYTES) {
      const to = Math.min(from + SHA1_STEP_BYTES, blobBytes)
      hashes.push(await this.run({ kind: 'sha1', file, from, to, pieceBytes }))
    }
    return Buffer.from(hashes.join(''), 'hex')
  }

  async close(): Promise<void> {
    await this.worker.terminate()
    this.failAll(new Error('the verifier is closed'))
  }

  private run(job: WithoutNumber<Job>, buffer?: PieceBuffer): Promise<string> {
    this.jobs += 1
    const number = this.jobs
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject, buffer })
      this.worker.postMessage({ ...job, job: number }, buffer ? [buffer.bytes.buffer] : [])
    })
  }

  private settle(result: JobResult): void {
    const waiter = this.waiting.get(result.job)
    if (!waiter) return
    this.waiting.delete(result.job)
    if (waiter.buffer && result.bytes) waiter.buffer.bytes = result.bytes
    if ('error' in result) waiter.reject(result.error)
    else waiter.resolve(result.value)
  }

  private failAll(error: Error): void {
    for (const waiter of this.waiting.values()) waiter.reject(error)
    this.waiting.clear()
  }
}
