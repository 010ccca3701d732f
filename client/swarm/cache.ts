import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from 'pino'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { ConditionCode, Conditions } from '../../core/conditions.ts'
import type { Defects } from '../../core/defects.ts'
import type { PieceIndex, SwarmId } from '../../core/metainfo.ts'
import { NODE_SWARMS_MAX } from '../../core/tracker-api.ts'
import type {
  BlobCache,
  CachedBlob,
  CacheLimits,
  CheckedBlob,
  HeldStatus,
  PinnedImage,
  PruneRequest,
} from '../client.ts'
import { RateLimit } from '../engine/rate-limit.ts'
import { CacheUnknownError, StoreFullError } from '../errors.ts'
import type { BlobStore, StoredBlob } from '../store/blob-store.ts'
import { dropPieces, type Hashing, wrongPieces } from '../store/damage.ts'
import type { Pins } from '../store/pins.ts'
import { DISK_LOOK_MS } from '../store/room.ts'
import { heldStatus, isHolding, verifiedBytes } from './held.ts'

const FULL = { cache: 'CACHE_FULL', disk: 'DISK_LOW' } as const satisfies Record<string, ConditionCode>
/** How long the condition of a damaged blob stays: a disk that loses bytes loses more. */
export const DAMAGE_SHOWN_MS = 24 * 3600_000
/** Rate at which `verify` reads the disk, in bytes a second, so that pulls have most of it: a full cache takes three minutes. */
export const VERIFY_BYTES_PER_SECOND = 128 * 1024 * 1024

export interface CacheParts {
  store: BlobStore
  pins: Pins
  verifier: Hashing
  conditions: Conditions
  defects: Defects
  log: Logger
  /** Nobody reads it here. */
  isIdle(blob: StoredBlob): boolean
  /** Its registry is configured. */
  isShown(blob: StoredBlob): boolean
  /** The blob has left the store. */
  onGone(swarm: SwarmId): void
  /** Pieces of the blob were dropped, which was whole before or not. */
  onLost(blob: StoredBlob, pieces: readonly PieceIndex[], wasComplete: boolean): void
  /** What others may get from here has changed. */
  onHoldings(): void
}

/**
 * What the node keeps, and why: pins, the standing of each blob in the cluster, what made room and what did not fit.
 * Operators look into it and change it.
 */
export class Cache implements BlobCache {
  readonly #parts: CacheParts
  readonly #others = new BoundedMap<SwarmId, number>(NODE_SWARMS_MAX)
  readonly #timer: NodeJS.Timeout
  #relieving: Promise<void> | undefined
  #verifying: Promise<unknown> = Promise.resolve()
  #evictions = 0
  /** The last blob that did not fit, by what was too small: a smaller one that does shows nothing. */
  readonly #lacked = { cache: 0, disk: 0 }

  constructor(parts: CacheParts) {
    this.#parts = parts
    parts.store.standing = {
      isPinned: ({ key }) => parts.pins.has(key.digest),
      others: ({ swarm }) => this.#others.get(swarm),
    }
    if (parts.pins.isDamaged) parts.conditions.raise('CACHE_PINS_LOST')
    this.#showPins()
    this.#timer = setInterval(() => this.relieve(), DISK_LOOK_MS).unref()
  }

  get limits(): CacheLimits {
    const { bytesMax, reserveBytes } = this.#parts.store.limits
    return { cacheBytesMax: bytesMax, diskReserveBytes: reserveBytes }
  }

  held(): HeldStatus {
    const { store } = this.#parts
    const blobs = store.all()
    const pinned = heldStatus(blobs.filter((blob) => store.standing.isPinned(blob)))
    const bytesMax = store.limits.bytesMax
    return { ...heldStatus(blobs), bytesMax, pinnedBytes: pinned.bytes, evictions: this.#evictions }
  }

  list(): CachedBlob[] {
    const { store, isShown } = this.#parts
    return store
      .all()
      .filter((blob) => isHolding(blob) && isShown(blob))
      .map((blob) => this.#shown(blob))
  }

  pins(): PinnedImage[] {
    return this.#parts.pins.list()
  }

  pin(image: PinnedImage): void {
    this.#parts.pins.add(image, this.#parts.store.limits.bytesMax)
    this.#showPins()
  }

  unpin(name: string): void {
    if (!this.#parts.pins.remove(name)) throw new CacheUnknownError(`nothing is pinned as ${name}`)
    this.#showPins()
  }

  resize({ cacheBytesMax, diskReserveBytes }: CacheLimits): void {
    this.#parts.store.resize({ bytesMax: cacheBytesMax, reserveBytes: diskReserveBytes })
    this.#showPins()
    this.relieve()
  }

  async prune({
    unusedForMs,
    toBytes,
    isAll = false,
    isDryRun = false,
  }: PruneRequest): Promise<CachedBlob[]> {
    const { store, isIdle } = this.#parts
    const nowMs = Date.now()
    let bytes = heldStatus(store.all()).bytes
    const leaving: CachedBlob[] = []
    for (const blob of store.inEvictionOrder(isIdle)) {
      const isOld = unusedForMs !== undefined && nowMs - blob.usedAtMs >= unusedForMs
      const isTooMuch = toBytes !== undefined && bytes > toBytes
      if (!(isAll || isOld || isTooMuch) || !isIdle(blob)) continue
      leaving.push(this.#shown(blob))
      bytes -= verifiedBytes(blob)
      if (isDryRun) continue
      this.gone(blob.swarm)
      await store.remove(blob.swarm)
    }
    if (!isDryRun && leaving.length > 0) this.#parts.onHoldings()
    return leaving
  }

  verify(onChecked: (blob: CheckedBlob) => void, signal: AbortSignal): Promise<void> {
    const verifying = this.#verifying.then(() => this.#verifyAll(onChecked, signal))
    this.#verifying = verifying.catch(() => undefined)
    return verifying
  }

  /** What the tracker says of other holders, with a heartbeat. */
  heardHolders(holders: readonly { swarm: SwarmId; others: number }[]): void {
    for (const { swarm, others } of holders) if (this.#parts.store.get(swarm)) this.#others.set(swarm, others)
  }

  /** A reader, or a check, found these pieces changed. */
  damaged(blob: StoredBlob, pieces: readonly PieceIndex[]): void {
    const wasComplete = blob.isComplete
    const { key } = blob
    dropPieces(blob, pieces)
    const facts = { registry: key.registry, pieces: pieces.length }
    this.#parts.conditions.raise('CACHE_DAMAGED', key.digest, facts, {
      untilMs: Date.now() + DAMAGE_SHOWN_MS,
    })
    this.#parts.onLost(blob, pieces, wasComplete)
    this.#parts.onHoldings()
  }

  /** These blobs made room for others. */
  madeRoom(evicted: readonly SwarmId[]): void {
    this.#evictions += evicted.length
    for (const swarm of evicted) this.gone(swarm)
    if (evicted.length > 0) this.#parts.onHoldings()
  }

  gone(swarm: SwarmId): void {
    this.#others.delete(swarm)
    this.#parts.onGone(swarm)
  }

  noteFull(error: unknown, bytes: number): void {
    if (!(error instanceof StoreFullError)) return
    this.#lacked[error.limit] = bytes
    this.#parts.conditions.raise(FULL[error.limit], '', { reason: error.message })
  }

  noteFits(bytes: number): void {
    for (const limit of ['cache', 'disk'] as const) if (bytes >= this.#lacked[limit]) this.#fits(limit)
  }

  #fits(limit: keyof typeof FULL): void {
    this.#lacked[limit] = 0
    this.#parts.conditions.clear(FULL[limit])
  }

  /** Keeps within its limits although others fill the disk; nobody awaits it. */
  relieve(): void {
    const relieve = () => {
      this.#relieving ??= this.#relieve().finally(() => {
        this.#relieving = undefined
      })
      return this.#relieving
    }
    this.#parts.defects.boundary('swarm', () => undefined).run(relieve)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#relieving?.catch(() => undefined)
  }

  async #relieve(): Promise<void> {
    const { store, isIdle, conditions } = this.#parts
    const { evicted, lack } = await store.relieve(isIdle)
    this.madeRoom(evicted)
    if (lack !== undefined) return void conditions.raise(FULL[lack.limit], '', { reason: lack.message })
    for (const limit of ['cache', 'disk'] as const)
      if (await store.couldFit(this.#lacked[limit], limit, isIdle)) this.#fits(limit)
  }

  async #verifyAll(onChecked: (blob: CheckedBlob) => void, signal: AbortSignal): Promise<void> {
    const rate = new RateLimit(VERIFY_BYTES_PER_SECOND, () => performance.now())
    const pace = async (bytes: number) => {
      for (let ms = rate.take(bytes); ms > 0; ms = rate.take(bytes)) await wait(ms, undefined, { signal })
    }
    for (const blob of this.#parts.store.all()) {
      signal.throwIfAborted()
      if (this.#parts.store.get(blob.swarm) !== blob || !isHolding(blob)) continue
      const bytes = verifiedBytes(blob)
      const wrong = await wrongPieces(blob, this.#parts.verifier, pace).catch((error: unknown) => {
        // It left the store meanwhile.
        if (this.#parts.store.get(blob.swarm) === blob) throw error
      })
      if (wrong === undefined) continue
      if (wrong.length > 0) this.damaged(blob, wrong)
      onChecked({ ...this.#shown(blob), checkedBytes: bytes, wrongBytes: bytes - verifiedBytes(blob) })
    }
  }

  #shown(blob: StoredBlob): CachedBlob {
    const { store, isIdle } = this.#parts
    const others = this.#others.get(blob.swarm)
    return {
      ...blob.key,
      repository: blob.repository,
      bytes: blob.layout.blobBytes,
      heldBytes: verifiedBytes(blob),
      isWhole: blob.isComplete,
      isInUse: !isIdle(blob),
      isPinned: store.standing.isPinned(blob),
      usedAtMs: blob.usedAtMs,
      ...(others === undefined ? {} : { others }),
    }
  }

  #showPins(): void {
    const { pins, store, conditions } = this.#parts
    const { bytesMax } = store.limits
    if (pins.bytes <= bytesMax) conditions.clear('CACHE_PINS_EXCEED')
    else conditions.raise('CACHE_PINS_EXCEED', '', { pinnedBytes: pins.bytes, cacheBytesMax: bytesMax })
  }
}
