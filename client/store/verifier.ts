import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Defects } from '../../core/defects.ts'
import { PIECE_BYTES_MAX, type PieceLayout } from '../../core/metainfo.ts'
import { StoreWriteError } from '../errors.ts'
import type { BlobFile } from './blob-file.ts'
import type { PieceBuffer } from './piece-buffers.ts'
import type { Job, JobError, JobResult } from './verify-worker.ts'

/** Bytes hashed in one job: whole pieces, whatever their length (a power of two). */
const HASH_STEP_BYTES = 2 * PIECE_BYTES_MAX

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
 * thread that ends fails its jobs and is replaced; hashes of whole blobs that it held are read back from the file.
 */
export class Verifier {
  #worker: Worker
  #isClosed = false
  readonly #defects: Defects
  readonly #waiting = new Map<number, Waiter>()
  #jobs = 0
  #wholes = 0

  constructor(defects: Defects) {
    this.#defects = defects
    this.#worker = this.#start()
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
      if (this.#isClosed) return
      this.#failAll(this.#defects.note('verify_job', cause ?? new Error(`the thread ended with ${code}`)))
      this.#worker = this.#start()
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
    return this.#run({ kind: 'piece', bytes: buffer.bytes, ...job }, [buffer.bytes.buffer], buffer)
  }

  /** Begins the SHA-256 of a whole blob. @returns its handle */
  beginWhole(): number {
    this.#wholes += 1
    return this.#wholes
  }

  advanceWhole(whole: number, file: BlobFile, to: number): Promise<string> {
    return this.#run({ kind: 'advance', whole, file, to })
  }

  /** @returns the hex digest */
  endWhole(whole: number): Promise<string> {
    return this.#run({ kind: 'end', whole })
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

  /** Writes bytes of a blob that is being pushed. Takes over their memory. @throws as `piece` */
  append(file: BlobFile, bytes: Uint8Array<ArrayBuffer>, position: number): Promise<string> {
    return this.#run({ kind: 'append', file, bytes, position }, [bytes.buffer])
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#worker.terminate()
    this.#failAll(new Error('the verifier is closed'))
  }

  #run(job: WithoutNumber<Job>, moved: ArrayBuffer[] = [], buffer?: PieceBuffer): Promise<string> {
    this.#jobs += 1
    const number = this.#jobs
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, buffer })
      this.#worker.postMessage({ ...job, job: number }, moved)
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
