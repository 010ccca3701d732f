import { read } from 'node:fs'
import { promisify } from 'node:util'
import type { PieceIndex } from '../core/metainfo.ts'
import type { RegistryClient } from '../core/registry-client.ts'
import type { GrantedSwarm } from '../core/tracker-api.ts'
import type { BlobRequest, OpenBlob } from './client.ts'
import {
  BlobDistrustedError,
  BlobUnavailableError,
  ClientClosedError,
  OriginRefusedError,
  ReadClosedError,
} from './errors.ts'
import { readRange } from './net/registry-range.ts'
import type { Swarm } from './swarm.ts'

const readAt = promisify(read)

/** What one read of a local reader takes from the file. */
const CHUNK_BYTES = 256 * 1024

/**
 * One local reader of a swarm's blob. When the swarm fails (disk full, registry and peers silent) the rest comes from
 * the registry with the reader's own credential; a blob that does not match its digest is cut instead.
 */
export class BlobReader implements OpenBlob {
  private readonly swarm: Swarm
  private readonly request: BlobRequest
  private readonly registry: RegistryClient
  private readonly abort = new AbortController()
  /** One buffer, used again for every chunk: fresh ones would be collected too late. */
  private readonly chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)

  constructor(
    swarm: Swarm,
    options: { request: BlobRequest; registry: RegistryClient; lease: GrantedSwarm['lease'] },
  ) {
    this.swarm = swarm
    this.request = options.request
    this.registry = options.registry
    // From now on the blob is wanted, so that the download begins before the first read.
    swarm.setPosition(this, 0, options.lease)
  }

  get bytes(): number {
    return this.swarm.layout.blobBytes
  }

  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    let at = start
    try {
      while (at < end) {
        const bytes = await this.nextChunk(at, end)
        yield bytes
        at += bytes.length
      }
    } catch (error) {
      if (
        error instanceof BlobDistrustedError ||
        error instanceof ClientClosedError ||
        this.abort.signal.aborted
      ) {
        throw error
      }
      this.swarm.log.warn({ err: error, at }, 'the rest of the blob comes from the registry')
      yield* this.readFromRegistry(at, end)
    }
  }

  close(): void {
    this.abort.abort()
    this.swarm.removeReader(this)
  }

  private async nextChunk(at: number, end: number): Promise<Buffer> {
    if (this.abort.signal.aborted) throw new ReadClosedError('the reader was closed')
    const { layout, stored } = this.swarm
    const piece = Math.floor(at / layout.pieceBytes) as PieceIndex
    this.swarm.setPosition(this, piece)
    await this.swarm.until(this, () => stored.have.has(piece))
    const pieceEnd = Math.min((piece + 1) * layout.pieceBytes, end)
    let to = Math.min(at + CHUNK_BYTES, pieceEnd)
    // The last byte is held back until the whole blob is known to be what the digest says.
    if (to === layout.blobBytes && !stored.isMatched) {
      if (to - at > 1) to -= 1
      else await this.swarm.until(this, () => stored.isMatched)
    }
    return this.readFile(at, to)
  }

  private async readFile(from: number, to: number): Promise<Buffer> {
    const buffer = this.chunk.subarray(0, to - from)
    const { bytesRead } = await this.swarm.stored.withFile((fd) => readAt(fd, buffer, 0, buffer.length, from))
    if (bytesRead !== buffer.length) throw new BlobUnavailableError('the blob file is shorter than its blob')
    return buffer
  }

  private async *readFromRegistry(from: number, to: number): AsyncGenerator<Uint8Array> {
    const { repository, digest, credential } = this.request
    try {
      yield* readRange({
        registry: this.registry,
        repository,
        digest,
        credential,
        from,
        to,
        signal: this.abort.signal,
      })
    } catch (cause) {
      if (cause instanceof OriginRefusedError) throw cause
      throw new BlobUnavailableError('neither the swarm nor the registry has the rest of the blob', { cause })
    }
  }
}
