import { createHash, type Hash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { digestHex } from '../../core/digest.ts'
import { ShoalError } from '../../core/errors.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { BlobRequest, BytesBySource, OpenBlob } from '../client.ts'
import {
  BlobDistrustedError,
  BlobUnavailableError,
  ClientClosedError,
  OriginRefusedError,
  ReadClosedError,
  SwarmStalledError,
} from '../errors.ts'
import { authorizationOf, readRange } from '../origin/registry-range.ts'
import { Bitfield } from '../store/bitfield.ts'
import { readFile } from '../store/blob-file.ts'
import type { PieceInUse } from '../store/recent-pieces.ts'
import { unlessStalled } from './reader-patience.ts'
import type { Part } from './readers.ts'
import type { Swarm } from './swarm.ts'

/** Bytes of one read from the file. */
const CHUNK_BYTES = 256 * 1024

/**
 * One local reader of a swarm's blob. When the swarm fails (disk full, registry and peers silent), the rest comes
 * from the registry with the reader's own credential. A blob that does not match its digest is cut short instead.
 * Invariant: no read ends normally with bytes that were delivered on claims which the digest of the whole blob did
 * not confirm.
 */
export class BlobReader implements OpenBlob {
  readonly #swarm: Swarm
  readonly #request: BlobRequest
  readonly #registry: RegistryClient
  readonly #abort = new AbortController()
  /** One buffer, reused for every chunk: fresh ones would be collected too late. */
  readonly #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  /** Delivered bytes can still be read after the blob has left the store. */
  readonly #unpin: () => void
  readonly sources: BytesBySource = { peers: 0, registry: 0, cache: 0 }
  fallback: string | undefined
  /** Pieces that were here before this reader. */
  readonly #cached: Bitfield
  /** The epoch of the claims behind the delivered bytes; undefined while there are none. */
  #claimsEpoch: number | undefined
  readonly #part: Part
  /** Needs no more than its part: the rest of the blob is not fetched, so nothing shows that the whole matches. */
  readonly #isPart: boolean
  #isClosed = false

  constructor(swarm: Swarm, options: { request: BlobRequest; registry: RegistryClient }) {
    this.#swarm = swarm
    this.#request = options.request
    this.#registry = options.registry
    this.#unpin = swarm.stored.pin()
    const { have } = swarm.stored
    this.#cached = Bitfield.fromBytes(have.toBytes(), have.pieceCount)
    this.#part = options.request.part ?? { start: 0, end: this.bytes }
    this.#isPart = swarm.expectReader(this, this.#part)
    // The blob is wanted from now on, so that the download begins before the first read.
    swarm.setPosition(this, Math.floor(this.#part.start / swarm.layout.pieceBytes))
  }

  get bytes(): number {
    return this.#swarm.layout.blobBytes
  }

  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    let at = start
    try {
      while (at < end) {
        if (this.#isPart && at === this.bytes - 1 && !this.#swarm.stored.isMatched) {
          // The last byte waits for the digest of the whole, which a part does not fetch: the registry vouches for it.
          yield* this.#readFromRegistry(at, end)
          break
        }
        const { bytes, done } = await this.#nextChunk(at, end)
        at += bytes.length
        try {
          yield bytes
        } finally {
          done()
        }
      }
      if (at === this.#part.end) this.#swarm.hasRead(this.#part)
    } catch (error) {
      if (
        error instanceof BlobDistrustedError ||
        error instanceof ClientClosedError ||
        this.#abort.signal.aborted
      ) {
        throw error
      }
      this.fallback = error instanceof ShoalError ? error.code : 'UNEXPECTED'
      this.#swarm.log.warn({ err: error, at }, 'the rest of the blob comes from the registry')
      if (this.#claimsEpoch === undefined) yield* this.#readFromRegistry(at, end)
      else yield* this.#readAfterClaims(start, at, end)
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#abort.abort()
    this.#swarm.removeReader(this)
    this.#unpin()
  }

  async #nextChunk(at: number, end: number): Promise<PieceInUse> {
    if (this.#abort.signal.aborted) throw new ReadClosedError('the reader was closed')
    const { layout, stored } = this.#swarm
    // It is no longer whole, so that nothing would show any more that the delivered bytes were.
    if (this.#swarm.isDamaged) throw new BlobUnavailableError('the stored copy is damaged')
    const piece = Math.floor(at / layout.pieceBytes) as PieceIndex
    this.#swarm.setPosition(this, piece)
    const pieceEnd = Math.min((piece + 1) * layout.pieceBytes, end)
    await this.#unlessStalled(this.#readable(piece, pieceEnd < end))
    this.#checkShared()
    let to = Math.min(at + CHUNK_BYTES, pieceEnd)
    // The last byte is held back until the whole blob is known to match its digest.
    if (to === layout.blobBytes && !stored.isMatched) {
      if (to - at > 1) to -= 1
      else await this.#unlessStalled(this.#swarm.until(this, () => stored.isMatched))
    }
    this.#checkClaims()
    const chunk = this.#inMemory(piece, at, to) ?? (await this.#readStored(at, to))
    this.#count(piece, chunk.bytes.length)
    return chunk
  }

  /** Waits until the piece is here and right. */
  async #readable(piece: PieceIndex, isNextWanted: boolean): Promise<void> {
    const { have } = this.#swarm.stored
    const isBlocked = () => this.#swarm.whyBlocked(this.#request) !== undefined
    do await this.#swarm.until(this, () => have.has(piece) || isBlocked())
    while (!isBlocked() && !(await this.#swarm.mayRead(piece, isNextWanted)))
  }

  /** @throws BlobBlockedError */
  #checkShared(): void {
    const blocked = this.#swarm.whyBlocked(this.#request)
    if (blocked !== undefined) throw blocked
  }

  /** A swarm that stalls for one reader does so for all, whatever the reason. */
  async #unlessStalled(wanted: Promise<void>): Promise<void> {
    try {
      await unlessStalled(wanted, this.#swarm.stalling)
    } catch (error) {
      if (error instanceof SwarmStalledError) this.#swarm.stalled(error)
      throw error
    }
  }

  #inMemory(piece: PieceIndex, from: number, to: number): PieceInUse | undefined {
    const recent = this.#swarm.recent.use(piece)
    const start = piece * this.#swarm.layout.pieceBytes
    return recent && { bytes: recent.bytes.subarray(from - start, to - start), done: recent.done }
  }

  #count(piece: PieceIndex, bytes: number): void {
    if (this.#cached.has(piece)) {
      this.sources.cache += bytes
      this.#swarm.bytesFromCache += bytes
    } else if (this.#swarm.fromPeers.has(piece)) this.sources.peers += bytes
    else this.sources.registry += bytes
  }

  /** A risen epoch means that a claim was wrong: stored bytes may be right, delivered bytes may not. */
  #checkClaims(): void {
    const { isMatched, hashes } = this.#swarm.stored
    if (this.#claimsEpoch !== undefined && this.#claimsEpoch !== hashes.epoch)
      throw new BlobDistrustedError('a hash behind delivered bytes was withdrawn')
    // Confirmed hashes are claims of two nodes: the bytes that they let through must still match the digest together
    // with the rest.
    this.#claimsEpoch = isMatched ? undefined : hashes.epoch
  }

  async #readStored(from: number, to: number): Promise<PieceInUse> {
    const buffer = this.#chunk.subarray(0, to - from)
    const wanted = { at: 0, length: buffer.length, position: from }
    const isRead = await new Promise<boolean>((resolve) => {
      this.#swarm.stored.readBlock(buffer, wanted, resolve)
    })
    // The file is closed with its node.
    if (!isRead) throw this.#swarm.failure ?? new BlobUnavailableError('the blob file cannot be read')
    return { bytes: buffer, done: () => undefined }
  }

  /**
   * The delivered bytes were never matched as a whole, so this read does it and holds back the end until then. A part
   * of a blob cannot be checked.
   */
  async *#readAfterClaims(start: number, at: number, end: number): AsyncGenerator<Uint8Array> {
    if (start !== 0 || end !== this.bytes || this.#claimsEpoch !== this.#swarm.stored.hashes.epoch)
      throw new BlobDistrustedError('the delivered bytes can no longer be checked')
    const hash = await this.#hashOfFile(at)
    let left = end - at
    for await (const bytes of this.#readFromRegistry(at, end)) {
      hash.update(bytes)
      left -= bytes.length
      if (left === 0 && hash.digest('hex') !== digestHex(this.#request.digest))
        throw new BlobDistrustedError('the delivered bytes do not match the digest')
      yield bytes
    }
  }

  async #hashOfFile(bytes: number): Promise<Hash> {
    const hash = createHash('sha256')
    for (let position = 0; position < bytes; ) {
      this.#abort.signal.throwIfAborted()
      const length = Math.min(CHUNK_BYTES, bytes - position)
      const wanted = { target: this.#chunk, at: 0, length, position }
      const isRead = await readFile(this.#swarm.stored.file, wanted)
      if (!isRead) throw new BlobUnavailableError('the blob file is shorter than its blob')
      hash.update(this.#chunk.subarray(0, length))
      position += length
    }
    return hash
  }

  async *#readFromRegistry(from: number, to: number): AsyncGenerator<Uint8Array> {
    const { repository, digest, credential } = this.#request
    const leftMs = this.#registry.limit.leftMs(authorizationOf(credential))
    if (leftMs > 0) await setTimeout(leftMs, undefined, { signal: this.#abort.signal })
    try {
      const rest = readRange({
        registry: this.#registry,
        repository,
        digest,
        credential,
        from,
        to,
        signal: this.#abort.signal,
      })
      for await (const chunks of rest) {
        for (const bytes of chunks) {
          await this.#swarm.access.pass(bytes.length, this.#abort.signal)
          this.sources.registry += bytes.length
          yield bytes
        }
      }
    } catch (cause) {
      if (cause instanceof OriginRefusedError) throw cause
      throw new BlobUnavailableError('neither the swarm nor the registry has the rest of the blob', { cause })
    }
  }
}
