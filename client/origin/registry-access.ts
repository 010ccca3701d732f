import { setTimeout } from 'node:timers/promises'
import { endsAtMs } from '../../core/credential-expiry.ts'
import type { PieceLayout } from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import type { Credential } from '../../core/tracker-api.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { authorizationOf, type LastRedirect, readRange } from './registry-range.ts'
import { RegistryStream } from './registry-stream.ts'

/**
 * Access to one blob at its registry, at the permitted rate. Uses the repository and the credential of the newest
 * request, which belong together.
 */
export class RegistryAccess {
  readonly #stored: StoredBlob
  readonly #registry: RegistryClient
  readonly #limits: RateLimit[]
  readonly #taker: () => object
  readonly #redirect: LastRedirect = { url: undefined }
  #repository: Repository
  #credential: Credential = { scheme: 'none' }
  #endsAt: number | undefined
  /** When bytes for the swarm last arrived; on the clock of `performance.now()`. */
  arrivedAtMs = Number.NEGATIVE_INFINITY

  /** @param taker for whom the bytes are, for fairness between pulls; default: this blob */
  constructor(
    stored: StoredBlob,
    parts: { registry: RegistryClient; downloadLimit: RateLimit; registryLimit: RateLimit },
    taker: () => object = () => this,
  ) {
    this.#stored = stored
    this.#repository = stored.repository
    this.#registry = parts.registry
    this.#limits = [parts.downloadLimit, parts.registryLimit]
    this.#taker = taker
  }

  /** A request for the blob arrived. */
  admit({ repository, credential }: { repository: Repository; credential: Credential }): void {
    this.#repository = repository
    this.#credential = credential
    this.#endsAt = endsAtMs(credential, Date.now())
  }

  /** Expiry of the credential, on the clock of `Date.now()`; undefined when unknown. */
  get endsAtMs(): number | undefined {
    return this.#endsAt
  }

  /** How long the registry told this node to wait (429); 0 if it may be asked. Milliseconds. */
  get limitedMs(): number {
    return this.#registry.limit.leftMs(authorizationOf(this.#credential))
  }

  /** The registry answered a range with the whole blob, or refused it, lately: for this blob or another. */
  get areRangesIgnored(): boolean {
    return this.#registry.habits.has('noRanges')
  }

  /**
   * Pieces [first, end). The stream ends with RangeIgnoredError when the registry answers a range with the whole
   * blob.
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
    const allowDownload = (bytes: number) => {
      this.arrivedAtMs = performance.now()
      return this.#take(bytes)
    }
    return new RegistryStream({ layout, firstPiece: first, chunks, allowDownload, signal })
  }

  /** Resolves when this many bytes of the registry may be read. @throws the signal's reason */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    for (let waitMs = this.#take(bytes); waitMs > 0; waitMs = this.#take(bytes))
      await setTimeout(waitMs, undefined, { signal })
  }

  /** Within both limits, or not at all. @returns 0 if they may be read now, else the ms to wait */
  #take(bytes: number): number {
    const taker = this.#taker()
    const waitMs = Math.max(...this.#limits.map((limit) => limit.waitMs(taker)))
    if (waitMs === 0) for (const limit of this.#limits) limit.spend(bytes, taker)
    return waitMs
  }
}

function bytesOf(layout: PieceLayout, first: number, end: number): { from: number; to: number } {
  return { from: first * layout.pieceBytes, to: Math.min(end * layout.pieceBytes, layout.blobBytes) }
}
