import { createHash, type Hash, hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { isSystemError } from '../../core/defects.ts'
import { UNIT_BYTES } from './blob-cipher.ts'
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
 * Hashes of the pieces in bytes [from, to): SHA-1 for stock BitTorrent v1 clients, SHA-256 of a pushed blob. The answer
 * is all of them, joined, in hex.
 */
export interface PieceHashesJob {
  kind: 'hashes'
  job: number
  algorithm: 'sha1' | 'sha256'
  file: BlobFile
  from: number
  to: number
  pieceBytes: number
}
/** Writes bytes whose piece is not whole yet, or unknown; the answer is how long it took, in ms. */
export interface WriteJob {
  kind: 'write'
  job: number
  /** Transferred here. */
  bytes: Uint8Array<ArrayBuffer>
  file: BlobFile
  /** In an encrypted file, the unit that this is in the middle of must be there. */
  position: number
}
export type Job = PieceJob | WholeAdvanceJob | WholeEndJob | PieceHashesJob | WriteJob
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
    case 'advance':
      return advanceWhole(job)
    case 'end':
      return endWhole(job)
    case 'hashes':
      return hashesOfPieces(job)
    case 'write':
      return write(job)
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

function write(job: WriteJob): string {
  const startedAtMs = performance.now()
  const { bytes, position } = withUnitBefore(job)
  writeFileSync(job.file, bytes, position)
  return String(performance.now() - startedAtMs)
}

/** An encrypted file is written from the start of a unit. */
function withUnitBefore({ file, bytes, position }: WriteJob): { bytes: Uint8Array; position: number } {
  const into = file.key === undefined ? 0 : position % UNIT_BYTES
  if (into === 0) return { bytes, position }
  const joined = new Uint8Array(into + bytes.length)
  const head = { target: joined, at: 0, length: into, position: position - into }
  if (!readFileSync(file, head)) throw new ShortFileError('the blob file is shorter than its blob')
  joined.set(bytes, into)
  return { bytes: joined, position: position - into }
}

function hashesOfPieces(job: PieceHashesJob): string {
  const hashes: string[] = []
  for (let from = job.from; from < job.to; from += job.pieceBytes) {
    const piece = createHash(job.algorithm)
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
