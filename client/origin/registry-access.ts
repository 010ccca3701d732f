import type { PieceLayout } from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import type { Credential } from '../../core/tracker-api.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { endsAtMs } from './credential-expiry.ts'
import { type LastRedirect, readRange } from './registry-range.ts'
import { RegistryStream } from './registry-stream.ts'

/**
 * One blob as its registry gives it to this node: from the repository and with the credential of the newest request,
 * which go together, at the permitted rate.
 */
export class RegistryAccess {
  readonly #stored: StoredBlob
  readonly #registry: RegistryClient
  readonly #limit: RateLimit
  readonly #redirect: LastRedirect = { url: undefined }
  #repository: Repository
  #credential: Credential = { scheme: 'none' }
  #endsAt: number | undefined

  constructor(stored: StoredBlob, parts: { registry: RegistryClient; downloadLimit: RateLimit }) {
    this.#stored = stored
    this.#repository = stored.repository
    this.#registry = parts.registry
    this.#limit = parts.downloadLimit
  }

  /** A request for the blob came. */
  admit({ repository, credential }: { repository: Repository; credential: Credential }): void {
    this.#repository = repository
    this.#credential = credential
    this.#endsAt = endsAtMs(credential, Date.now())
  }

  /** When the credential ends, as `Date.now()` tells it; undefined when nobody can tell. */
  get endsAtMs(): number | undefined {
    return this.#endsAt
  }

  /**
   * Pieces [first, end). A registry that answers with the whole is read only where the whole is asked for: the stream
   * ends with RangeIgnoredError otherwise.
   */
  stream(first: number, end: number, signal: AbortSignal): RegistryStream {
    const { layout, key } = this.#stored
    const { from, to } = bytesOf(layout, first, end)
    const chunks = readRange({
      registry: this.#registry,
      repository: this.#repository,
      digest: key.digest,
      credential: this.#credential,
      from,
      to,
      signal,
      redirect: this.#redirect,
      isWholeRefused: from > 0 || to < layout.blobBytes,
    })
    const allowDownload = (bytes: number) => this.#limit.take(bytes)
    return new RegistryStream({ layout, firstPiece: first, chunks, allowDownload, signal })
  }
}

function bytesOf(layout: PieceLayout, first: number, end: number): { from: number; to: number } {
  return { from: first * layout.pieceBytes, to: Math.min(end * layout.pieceBytes, layout.blobBytes) }
}
