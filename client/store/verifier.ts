import { extname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Defects } from '../../core/defects.ts'
import { PIECE_BYTES_MAX, type PieceLayout } from '../../core/metainfo.ts'
import { StoreWriteError } from '../errors.ts'
import type { BlobFile } from './blob-file.ts'
import type { PieceBuffer } from './piece-buffers.ts'
import type { Job, JobError, JobResult } from './verify-worker.ts'

/** Bytes hashed in one job: whole pieces, whatever their length (a power of two). */
const HASH_STEP_BYTES = 2 * PIECE_BYTES_MAX
/** Work that no pull waits for begins when no piece was verified for this time … */
export const QUIET_MS = 2_000
/** … and this long after it was asked for at the latest: after a minute the tracker asks another node for SHA-1 hashes. */
export const QUIET_WAIT_MS_MAX = 20_000
/** The thread costs 14 MiB: it starts with the first work, and ends after this time without any. */
export const THREAD_IDLE_MS = 60_000

type WithoutNumber<T> = T extends Job ? Omit<T, 'job'> : never

/** The thread's program: TypeScript in a checkout, JavaScript beside this file in a package. */
const WORKER = new URL(`./verify-worker${extname(import.meta.filename)}`, import.meta.url)

interface Waiter {
  resolve(value: string): void
  reject(error: Error): void
  /** The buffer whose memory is with the thread. */
  buffer: PieceBuffer | undefined
}

/**
 * The verifying thread, with promises. Jobs run in the order of their calls. A failed job affects only itself. A
 * thread that fails fails its jobs and is replaced; hashes of whole blobs that it held are read back from the file.
 * While nobody has work for it there is none.
 */
export class Verifier {
  #worker: Worker | undefined
  #isClosed = false
  readonly #defects: Defects
  readonly #threadIdleMs: number
  readonly #waiting = new Map<number, Waiter>()
  #jobs = 0
  #wholes = 0
  /** Begun and not ended: the thread has their state. */
  readonly #openWholes = new Set<number>()
  #idle: NodeJS.Timeout | undefined
  #pieceAtMs = Number.NEGATIVE_INFINITY
  /** The last work that waits for quiet; one at a time, so that a piece waits for a step of one. */
  #quietWork: Promise<unknown> = Promise.resolve()

  /** @param threadIdleMs tests pass their own */
  constructor(defects: Defects, threadIdleMs = THREAD_IDLE_MS) {
    this.#defects = defects
    this.#threadIdleMs = threadIdleMs
  }

  get hasThread(): boolean {
    return this.#worker !== undefined
  }

  /** Work that the thread has not answered. */
  get jobsWaiting(): number {
    return this.#waiting.size
  }

  /** Work is about to come: the thread takes 50 ms to start. */
  expectWork(): void {
    if (this.#isClosed) return
    this.#worker ??= this.#start()
    this.#endWhenIdle()
  }

  #endWhenIdle(): void {
    clearTimeout(this.#idle)
    this.#idle = globalThis.setTimeout(() => {
      if (this.#waiting.size > 0 || this.#openWholes.size > 0) return this.#endWhenIdle()
      const worker = this.#worker
      this.#worker = undefined
      void worker?.terminate()
    }, this.#threadIdleMs)
    this.#idle.unref()
  }

  #start(): Worker {
    const worker = new Worker(WORKER, {
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    })
    worker.unref()
    worker.on('message', (result: JobResult) => this.#settle(result))
    let cause: unknown
    worker.on('error', (error) => {
      cause = error
    })
    worker.once('exit', (code) => {
      if (this.#isClosed || this.#worker !== worker) return
      this.#worker = undefined
      this.#failAll(this.#defects.note('verify_job', cause ?? new Error(`the thread ended with ${code}`)))
    })
    return worker
  }

  /**
   * Hashes a piece, and writes it when it has the expected hash or none is expected.
   * @returns its SHA-256 in hex
   * @throws StoreWriteError when the disk refuses it; DefectError; as all jobs
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
    this.pieceVerified()
    return this.#run({ kind: 'piece', bytes: buffer.bytes, ...job }, [buffer.bytes.buffer], buffer)
  }

  /** @returns the SHA-256 of a piece in memory, in hex @throws as all jobs */
  hash(buffer: PieceBuffer, length: number): Promise<string> {
    const job = { length, file: undefined, position: 0, expected: undefined, whole: undefined }
    return this.#run({ kind: 'piece', bytes: buffer.bytes, ...job }, [buffer.bytes.buffer], buffer)
  }

  /**
   * Writes bytes whose piece is not whole yet, or unknown. Takes over their memory; jobs after it find them in the file.
   * @returns how long that took, in ms @throws as all jobs
   */
  async write(file: BlobFile, bytes: Uint8Array<ArrayBuffer>, position: number): Promise<number> {
    return Number(await this.#run({ kind: 'write', file, bytes, position }, [bytes.buffer]))
  }

  /** @returns the SHA-256 of bytes in the file, in hex @throws as all jobs */
  range(file: BlobFile, { position, length }: { position: number; length: number }): Promise<string> {
    const [from, to] = [position, position + length]
    return this.#run({ kind: 'hashes', algorithm: 'sha256', file, from, to, pieceBytes: length })
  }

  /** Begins the SHA-256 of a whole blob. @returns its handle */
  beginWhole(): number {
    this.#wholes += 1
    this.#openWholes.add(this.#wholes)
    return this.#wholes
  }

  advanceWhole(whole: number, file: BlobFile, to: number): Promise<string> {
    return this.#run({ kind: 'advance', whole, file, to })
  }

  /** @returns the hex digest */
  endWhole(whole: number): Promise<string> {
    this.#openWholes.delete(whole)
    return this.#run({ kind: 'end', whole })
  }

  /** A piece was verified here or in the event loop: pulls need the processor. */
  pieceVerified(): void {
    this.#pieceAtMs = performance.now()
  }

  /** Does work when no pull needs the thread, or the processor. It may be asked for long before. */
  whenQuiet<Result>(work: () => Promise<Result>): Promise<Result> {
    const untilMs = performance.now() + QUIET_WAIT_MS_MAX
    const done = this.#quietWork.then(() => this.#quiet(untilMs)).then(work)
    this.#quietWork = done.catch(() => undefined)
    return done
  }

  async #quiet(untilMs: number): Promise<void> {
    while (!this.#isClosed) {
      const leftMs = Math.min(this.#pieceAtMs + QUIET_MS, untilMs) - performance.now()
      if (leftMs <= 0) return
      await setTimeout(leftMs, undefined, { ref: false })
    }
  }

  /** In steps, so that pieces waiting for verification get their turn. @returns 20 bytes for each piece */
  sha1OfPieces(file: BlobFile, layout: PieceLayout): Promise<Buffer> {
    return this.#hashesOfPieces('sha1', file, layout)
  }

  /** The same with SHA-256. @returns 32 bytes for each piece */
  sha256OfPieces(file: BlobFile, layout: PieceLayout): Promise<Buffer> {
    return this.#hashesOfPieces('sha256', file, layout)
  }

  async #hashesOfPieces(
    algorithm: 'sha1' | 'sha256',
    file: BlobFile,
    { blobBytes, pieceBytes }: PieceLayout,
  ): Promise<Buffer> {
    const hashes: string[] = []
    for (let from = 0; from < blobBytes; from += HASH_STEP_BYTES) {
      const to = Math.min(from + HASH_STEP_BYTES, blobBytes)
      hashes.push(await this.#run({ kind: 'hashes', algorithm, file, from, to, pieceBytes }))
    }
    return Buffer.from(hashes.join(''), 'hex')
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#idle)
    await this.#worker?.terminate()
    this.#failAll(new Error('the verifier is closed'))
  }

  #run(job: WithoutNumber<Job>, moved: ArrayBuffer[] = [], buffer?: PieceBuffer): Promise<string> {
    if (this.#isClosed) return Promise.reject(new Error('the verifier is closed'))
    this.expectWork()
    this.#jobs += 1
    const number = this.#jobs
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, buffer })
      this.#worker!.postMessage({ ...job, job: number }, moved)
    })
  }

  #settle(result: JobResult): void {
    const waiter = this.#waiting.get(result.job)
    if (!waiter) return
    this.#waiting.delete(result.job)
    if (waiter.buffer && result.bytes) waiter.buffer.bytes = result.bytes
    if ('error' in result) waiter.reject(this.#errorOf(result.error))
    else waiter.resolve(result.value)
  }

  #errorOf({ message, stack, isOfStorage }: JobError): Error {
    const cause = Object.assign(new Error(message), { stack })
    if (isOfStorage) return new StoreWriteError('the blob file cannot be read or written', { cause })
    return this.#defects.note('verify_job', cause)
  }

  #failAll(error: Error): void {
    for (const waiter of this.#waiting.values()) waiter.reject(error)
    this.#waiting.clear()
  }
}
