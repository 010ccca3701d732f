import { type Digest, digestFromHex } from '../../core/digest.ts'
import { JoinedChunks } from '../../core/joined-chunks.ts'
import { BLOB_BYTES_MAX, PIECE_HASH_BYTES, pieceLayout } from '../../core/metainfo.ts'
import { UNIT_BYTES } from './blob-cipher.ts'
import type { PushedFile } from './stored-blob.ts'
import type { Verifier } from './verifier.ts'

/** Bytes of all pushes that wait for the disk. A push that outruns the disk loses its copy; it never waits. */
export const PUSHED_BYTES_IN_FLIGHT_MAX = 32 * 1024 * 1024
/** Bytes of one write. Smaller ones cost more messages to the writing thread than bytes. */
const WRITE_BYTES = 1024 * 1024
/** Room is made for so many bytes at a time, as nobody knows how long a pushed blob will be. */
const RESERVE_BYTES = 8 * 1024 * 1024
/** How often bytes that are on the disk already may be sent anew: each time the whole is hashed again from its start. */
export const PUSH_REWINDS_MAX = 4
/** The whole is hashed on the way in steps of this length, so that pieces of pulls get their turn in the thread. */
const HASH_STEP_BYTES = 8 * 1024 * 1024

/** What all copies share. */
export interface PushedCopyParts {
  verifier: Pick<Verifier, 'write' | 'beginWhole' | 'advanceWhole' | 'endWhole' | 'sha256OfPieces'>
  createFile(): Promise<PushedFile>
  /** @throws StoreFullError */
  reserve(bytes: number): Promise<void>
  release(bytes: number): void
  /** Closes and removes the file. */
  discard(file: PushedFile): Promise<void>
  /** Bytes of all copies that wait for the disk. */
  inFlight: { bytes: number }
  /** A copy is given up: the push goes on without it. */
  onDropped(reason: unknown): void
}

/** A whole copy, hashed. */
export interface SealedCopy {
  file: PushedFile
  digest: Digest
  bytes: number
  /** SHA-256 of every piece, 32 bytes each. */
  pieces: readonly Buffer[]
}

/**
 * The copy of a blob while a local client pushes it. Invariants: nothing here waits or throws, so that the push is as fast
 * as without a copy; what fails or outruns the disk drops the copy. Nobody reads it before it is sealed, and nothing changes
 * it after: its own digest says which blob it is, whatever the client or the registry call it.
 */
export class PushedCopy {
  isDropped = false
  readonly #parts: PushedCopyParts
  readonly #file: Promise<PushedFile>
  /** Not handed to the disk yet. */
  readonly #waiting = new JoinedChunks()
  /** Handed to the disk: all bytes before. */
  #writtenTo = 0
  #reservedBytes = 0
  #tail: Promise<void>
  #whole: { handle: number; bytes: number } | undefined
  #rewinds = 0
  #isSealed = false
  #isAdopted = false

  constructor(parts: PushedCopyParts) {
    this.#parts = parts
    this.#file = parts.createFile()
    this.#tail = this.#file.then(
      () => undefined,
      (error) => this.drop(error),
    )
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#writtenTo + this.#waiting.bytes
  }

  append(chunk: Uint8Array): void {
    if (this.isDropped || this.#isSealed) return
    const { inFlight } = this.#parts
    if (inFlight.bytes + chunk.length > PUSHED_BYTES_IN_FLIGHT_MAX) {
      this.drop('the disk is slower than the push')
      return
    }
    if (this.bytes + chunk.length > BLOB_BYTES_MAX) {
      this.drop('the blob is too large to be shared')
      return
    }
    inFlight.bytes += chunk.length
    this.#waiting.add(chunk)
    const waiting = this.#waiting.bytes
    if (waiting >= WRITE_BYTES) this.#write(wholeUnits(this.#writtenTo, waiting))
  }

  /** The next bytes are from `to` on: the registry does not have what came after. @param to not beyond `bytes` */
  rewind(to: number): void {
    if (this.isDropped || this.#isSealed || to === this.bytes) return
    const waiting = this.#waiting.take()
    const kept = waiting.subarray(0, Math.max(0, to - this.#writtenTo))
    this.#parts.inFlight.bytes -= waiting.length - kept.length
    this.#waiting.add(kept)
    if (to >= this.#writtenTo) return
    this.#rewinds += 1
    if (this.#rewinds > PUSH_REWINDS_MAX) {
      this.drop('too much was sent again')
      return
    }
    this.#writtenTo = to
    this.#tail = this.#tail.then(() => this.#forgetWhole())
  }

  /** All bytes are here. @returns undefined if the copy was dropped */
  async seal(): Promise<SealedCopy | undefined> {
    const { bytes } = this
    this.#isSealed = true
    if (this.#waiting.bytes > 0) this.#write(this.#waiting.bytes)
    await this.#tail
    if (this.isDropped || bytes === 0) return undefined
    try {
      return await this.#sealed(bytes)
    } catch (error) {
      this.drop(error)
      return undefined
    }
  }

  /** Its file belongs to the store now. */
  adopted(): void {
    this.#isAdopted = true
    this.drop('adopted')
  }

  /** Gives it up. */
  drop(reason?: unknown): void {
    if (this.isDropped) return
    this.isDropped = true
    const { inFlight, onDropped, discard } = this.#parts
    inFlight.bytes -= this.#waiting.take().length
    if (reason !== undefined && !this.#isAdopted) onDropped(reason)
    // After the writes that are under way.
    this.#tail = this.#tail
      .then(async () => {
        this.#forgetWhole()
        this.#parts.release(this.#reservedBytes)
        if (!this.#isAdopted) await discard(await this.#file)
      })
      .catch(() => undefined)
  }

  async #sealed(bytes: number): Promise<SealedCopy> {
    const { verifier } = this.#parts
    const pushed = await this.#file
    pushed.file.bytes = bytes
    await this.#hashTo(pushed, bytes)
    const { handle } = this.#whole!
    this.#whole = undefined
    const digest = digestFromHex(await verifier.endWhole(handle))
    const all = await verifier.sha256OfPieces(pushed.file, pieceLayout(bytes))
    const pieces = Array.from({ length: all.length / PIECE_HASH_BYTES }, (_, at) =>
      all.subarray(at * PIECE_HASH_BYTES, (at + 1) * PIECE_HASH_BYTES),
    )
    return { file: pushed, digest, bytes, pieces }
  }

  #write(length: number): void {
    const joined = this.#waiting.take()
    // Memory of its own: it goes to the thread that writes.
    const bytes = new Uint8Array(joined.subarray(0, length))
    this.#waiting.add(joined.subarray(length))
    const position = this.#writtenTo
    this.#writtenTo += length
    const written = () => this.#writeNow(bytes, position)
    const settled = () => {
      this.#parts.inFlight.bytes -= length
    }
    this.#tail = this.#tail
      .then(written)
      .catch((error) => this.drop(error))
      .finally(settled)
  }

  async #writeNow(bytes: Uint8Array<ArrayBuffer>, position: number): Promise<void> {
    if (this.isDropped) return
    const end = position + bytes.length
    const pushed = await this.#file
    while (this.#reservedBytes < end) {
      await this.#parts.reserve(RESERVE_BYTES)
      this.#reservedBytes += RESERVE_BYTES
    }
    await this.#parts.verifier.write(pushed.file, bytes, position)
    if (end - (this.#whole?.bytes ?? 0) >= HASH_STEP_BYTES) await this.#hashTo(pushed, end)
  }

  async #hashTo({ file }: PushedFile, end: number): Promise<void> {
    const { verifier } = this.#parts
    this.#whole ??= { handle: verifier.beginWhole(), bytes: 0 }
    const whole = this.#whole
    while (whole.bytes < end) {
      whole.bytes = Math.min(end, whole.bytes + HASH_STEP_BYTES)
      await verifier.advanceWhole(whole.handle, file, whole.bytes)
    }
  }

  #forgetWhole(): void {
    const whole = this.#whole
    this.#whole = undefined
    // The verifier may be closed already; then there is nothing to forget.
    if (whole) this.#parts.verifier.endWhole(whole.handle).catch(() => undefined)
  }
}

/** How many of the waiting bytes end with a unit of an encrypted file, so that no unit is written in two parts. */
function wholeUnits(position: number, bytes: number): number {
  return Math.floor((position + bytes) / UNIT_BYTES) * UNIT_BYTES - position
}
