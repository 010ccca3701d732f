import { createHash, type Hash, hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { isSystemError } from '../../core/defects.ts'
import { type BlobFile, readFileSync, writeFileSync } from './blob-file.ts'

/** Runs in a thread of its own: hashing and writing would stall the event loop most. */

/** Hash a piece; write it into the file, if one is given, when the hash is the expected one or none is expected. */
export interface PieceJob {
  kind: 'piece'
  job: number
  /** Transferred here, and back with the result. */
  bytes: Uint8Array<ArrayBuffer>
  length: number
  file: BlobFile | undefined
  position: number
  /** Hex SHA-256; undefined for a piece from the registry whose hash nobody has published. */
  expected: string | undefined
  /** The whole-blob hash that this piece continues, when it is the next in order. */
  whole: number | undefined
}
/** Continues the whole-blob hash to byte `to`; bytes that did not arrive in order are read from the file. */
export interface WholeAdvanceJob {
  kind: 'advance'
  job: number
  whole: number
  file: BlobFile
  to: number
}
/** Ends a whole-blob hash; the answer is its hex digest. */
export interface WholeEndJob {
  kind: 'end'
  job: number
  whole: number
}
/**
 * SHA-1 of the pieces in bytes [from, to), for stock BitTorrent v1 clients; the answer is all of them, joined, in
 * hex.
 */
export interface Sha1Job {
  kind: 'sha1'
  job: number
  file: BlobFile
  from: number
  to: number
  pieceBytes: number
}
/** SHA-256 of bytes in the file; the answer is in hex. */
export interface RangeJob {
  kind: 'range'
  job: number
  file: BlobFile
  position: number
  length: number
}
/** Writes a block, when the disk is slow; the answer is how long it took, in ms. */
export interface WriteJob {
  kind: 'write'
  job: number
  /** Transferred here. */
  bytes: Uint8Array<ArrayBuffer>
  file: BlobFile
  position: number
}
export type Job = PieceJob | RangeJob | WriteJob | WholeAdvanceJob | WholeEndJob | Sha1Job
/** Errors are passed as text: not everything that can be thrown can pass between threads. */
export interface JobError {
  message: string
  stack: string | undefined
  /** Caused by the disk or the file, not by the code. */
  isOfStorage: boolean
}
export type JobResult = ({ value: string } | { error: JobError }) & {
  job: number
  /** A piece's memory, returned. */
  bytes?: Uint8Array<ArrayBuffer>
}

class ShortFileError extends Error {}

interface WholeHash {
  hash: Hash
  bytes: number
}

const wholes = new Map<number, WholeHash>()
/** Scratch memory for bytes read back; one is enough for one thread. */
const scratch = Buffer.allocUnsafe(1024 * 1024)

function run(job: Job): string {
  switch (job.kind) {
    case 'piece':
      return verifyPiece(job)
    case 'write':
      return writeBlock(job)
    case 'range':
      return hashRange(job)
    case 'advance':
      return advanceWhole(job)
    case 'end':
      return endWhole(job)
    case 'sha1':
      return sha1OfPieces(job)
  }
}

function verifyPiece(job: PieceJob): string {
  const bytes = job.bytes.subarray(0, job.length)
  const actual = hash('sha256', bytes, 'hex')
  const isWrong = job.expected !== undefined && actual !== job.expected
  if (isWrong || job.file === undefined) return actual
  writeFileSync(job.file, bytes, job.position)
  if (job.whole !== undefined) {
    const whole = wholeHash(job.whole)
    if (whole.bytes === job.position) {
      whole.hash.update(bytes)
      whole.bytes += job.length
    }
  }
  return actual
}

function writeBlock({ file, bytes, position }: WriteJob): string {
  const startedAtMs = performance.now()
  writeFileSync(file, bytes, position)
  return String(performance.now() - startedAtMs)
}

function hashRange({ file, position, length }: RangeJob): string {
  const range = createHash('sha256')
  readThrough(file, position, position + length, (bytes) => range.update(bytes))
  return range.digest('hex')
}

function advanceWhole(job: WholeAdvanceJob): string {
  const whole = wholeHash(job.whole)
  readThrough(job.file, whole.bytes, job.to, (bytes) => whole.hash.update(bytes))
  whole.bytes = Math.max(whole.bytes, job.to)
  return ''
}

function endWhole(job: WholeEndJob): string {
  const whole = wholeHash(job.whole)
  wholes.delete(job.whole)
  return whole.hash.digest('hex')
}

function sha1OfPieces(job: Sha1Job): string {
  const hashes: string[] = []
  for (let from = job.from; from < job.to; from += job.pieceBytes) {
    const piece = createHash('sha1')
    readThrough(job.file, from, Math.min(from + job.pieceBytes, job.to), (bytes) => piece.update(bytes))
    hashes.push(piece.digest('hex'))
  }
  return hashes.join('')
}

function readThrough(file: BlobFile, from: number, to: number, take: (bytes: Uint8Array) => void): void {
  for (let position = from; position < to; ) {
    const length = Math.min(scratch.length, to - position)
    const isRead = readFileSync(file, { target: scratch, at: 0, length, position })
    if (!isRead) throw new ShortFileError('the blob file is shorter than its blob')
    take(scratch.subarray(0, length))
    position += length
  }
}

function wholeHash(id: number): WholeHash {
  const existing = wholes.get(id)
  if (existing) return existing
  const whole = { hash: createHash('sha256'), bytes: 0 }
  wholes.set(id, whole)
  return whole
}

parentPort?.on('message', (job: Job) => {
  const result = resultOf(job)
  if (job.kind === 'piece') parentPort?.postMessage({ ...result, bytes: job.bytes }, [job.bytes.buffer])
  else parentPort?.postMessage(result)
})

function resultOf(job: Job): JobResult {
  try {
    return { job: job.job, value: run(job) }
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(`thrown: ${typeof error}`)
    const isOfStorage = error instanceof ShortFileError || isSystemError(error)
    return { job: job.job, error: { message, stack, isOfStorage } }
  }
}
