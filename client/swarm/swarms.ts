import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Conditions } from '../../core/conditions.ts'
import type { ShoalError } from '../../core/errors.ts'
import {
  type InfoHash,
  isSwarmId,
  type NodeId,
  type PieceIndex,
  type SwarmId,
  swarmIdOf,
} from '../../core/metainfo.ts'
import type { RegistryClients } from '../../core/registry-client.ts'
import type { BlobKey, BlobProgress, BlobRequest, BytesMoved } from '../client.ts'
import { StoreClosedError } from '../errors.ts'
import { CacheKey } from '../store/blob-cipher.ts'
import { BlobStore, type StoredBlob } from '../store/blob-store.ts'
import { Pins } from '../store/pins.ts'
import type { PushedCopyParts, SealedCopy } from '../store/pushed-copy.ts'
import { Cache } from './cache.ts'
import { heldProgress, isHolding, sumOf } from './held.ts'
import type { StockAliases } from './stock-aliases.ts'
import { Swarm, type SwarmParts } from './swarm.ts'

/** The parts that all swarms share; each blob has its own registry. */
export type SharedParts = Omit<SwarmParts, 'registry' | 'onFailed' | 'onUnread' | 'onDamaged' | 'onHoldings'>

export interface SwarmsOptions {
  dataDir: string
  cacheBytesMax: number
  diskReserveBytes: number | undefined
  cacheSecret: Uint8Array | undefined
  registries: RegistryClients
  aliases: StockAliases
  conditions: Conditions
  parts: SharedParts
  onFailed(swarm: Swarm, reason: ShoalError): void
  /** What others may get from here has changed. */
  onHoldings(): void
}

/**
 * The blobs of this node, each with its swarm. Invariant: a swarm is here only while its blob is in the store; a
 * failed swarm is removed with its blob.
 */
export class Swarms {
  readonly #store: BlobStore
  readonly #parts: SharedParts
  readonly #registries: RegistryClients
  readonly #aliases: StockAliases
  readonly cache: Cache
  readonly #onHoldings: () => void
  readonly #onFailed: (swarm: Swarm, reason: ShoalError) => void
  readonly #swarms = new Map<SwarmId, Swarm>()
  readonly #creating = new Map<SwarmId, Promise<Swarm>>()
  /** What swarms moved that are gone. */
  #movedBefore = sumOf([])
  #renewing: Promise<void> | undefined

  private constructor(store: BlobStore, options: SwarmsOptions) {
    this.#store = store
    this.#parts = options.parts
    this.#registries = options.registries
    this.#aliases = options.aliases
    this.#onHoldings = options.onHoldings
    this.#onFailed = options.onFailed
    this.cache = new Cache({
      store,
      ...options.parts,
      conditions: options.conditions,
      pins: new Pins(join(options.dataDir, 'pins.json')),
      isIdle: this.#isIdle,
      isShown: ({ key }) => options.registries.has(key.registry),
      onGone: (swarm) => this.#forget(swarm),
      onLost: (blob, pieces, wasComplete) => this.#lost(blob, pieces, wasComplete),
      onHoldings: options.onHoldings,
    })
  }

  static async open(options: SwarmsOptions): Promise<Swarms> {
    const { dataDir, cacheBytesMax, diskReserveBytes, cacheSecret } = options
    const cacheKey = cacheSecret && new CacheKey(cacheSecret)
    const directory = join(dataDir, 'blobs')
    const store = await BlobStore.open(directory, cacheBytesMax, cacheKey, diskReserveBytes)
    const { newerDropped: blobs } = store
    if (blobs > 0) options.parts.log.warn({ blobs, directory }, 'dropped the blobs that a newer Shoal stored')
    return new Swarms(store, options)
  }

  /** The swarm of a stored blob whose registry is (still) configured. */
  get(id: SwarmId): Swarm | undefined {
    const stored = this.#store.get(id)
    return stored && this.#isOfRegistry(stored) ? this.#on(stored) : undefined
  }

  /** Another path of a host is another registry: who may read a blob there says nothing about this copy. */
  #isOfRegistry({ swarm, key, layout }: StoredBlob): boolean {
    const registry = this.#registries.get(key.registry)
    const { cluster } = this.#parts.trust
    if (registry === undefined || cluster === undefined) return registry !== undefined
    return swarm === swarmIdOf({ ...key, cluster, apiPath: registry.apiPath, bytes: layout.blobBytes })
  }

  /** The swarm that a dialling peer names: by its id, or by the alias of stock clients. */
  named(name: InfoHash): Swarm | undefined {
    const held = isSwarmId(name) ? this.get(name) : undefined
    if (held) return held
    const stored = this.#store.all().find((blob) => this.#aliases.isNamed(blob, name))
    return stored && this.get(stored.swarm)
  }

  /** As `get`, once the blob was checked, if the last end of this node was not clean. */
  async getChecked(id: SwarmId): Promise<Swarm | undefined> {
    await this.#store.unclean.checked(id, this.#parts.verifier)
    return this.get(id)
  }

  /** Call at the start: checks what the last end may have spoilt, and completes what it cut off. */
  async prepareStored(): Promise<void> {
    for (const { swarm, key } of this.#store.unclean.all()) {
      await this.#store.unclean.checked(swarm, this.#parts.verifier)
      this.#parts.log.info({ digest: key.digest }, 'a stored blob was hashed: the last end was not clean')
    }
    await this.#completeAliases()
  }

  /** Computes missing hashes for aliases: the node was stopped before it had them. */
  async #completeAliases(): Promise<void> {
    for (const stored of this.#store.all()) {
      const isDue = stored.piecesSha1 === undefined && this.#aliases.isOffered(stored)
      if (isDue) await this.get(stored.swarm)?.piecesSha1()
    }
  }

  find({ registry, digest }: BlobKey): Swarm | undefined {
    const stored = this.#store.all().find(({ key }) => key.registry === registry && key.digest === digest)
    return stored && this.get(stored.swarm)
  }

  running(): IterableIterator<Swarm> {
    return this.#swarms.values()
  }

  /** @throws StoreFullError */
  ensure(id: SwarmId, request: BlobRequest): Promise<Swarm> {
    const held = this.#store.get(id)
    if (held) return Promise.resolve(this.#on(held))
    const running = this.#creating.get(id)
    if (running) return running
    const creating = this.#create(id, request).finally(() => this.#creating.delete(id))
    this.#creating.set(id, creating)
    return creating
  }

  /** The blobs that peers can get from this node. */
  holds(): { swarm: SwarmId; isSeed: boolean }[] {
    return this.#store
      .all()
      .filter((blob) => this.#registries.has(blob.key.registry) && isHolding(blob))
      .filter(({ swarm }) => !this.#swarms.get(swarm)?.links.isWithdrawn)
      .map(({ swarm, isComplete }) => ({ swarm, isSeed: isComplete }))
  }

  /** The signing key may have changed. One swarm after the other: all nodes hear of it at the same time. */
  renewBatches(): void {
    const renewAll = async () => {
      for (const swarm of [...this.#swarms.values()]) await swarm.renewBatches()
    }
    this.#renewing ??= renewAll().finally(() => {
      this.#renewing = undefined
    })
  }

  /** All blobs of the store whose registry is configured. */
  progress(): BlobProgress[] {
    return this.#store
      .all()
      .filter(({ key }) => this.#registries.has(key.registry))
      .map((stored) => this.#swarms.get(stored.swarm)?.progress() ?? heldProgress(stored))
  }

  /** Also of blobs that have left the store since. */
  moved(): BytesMoved {
    return sumOf([this.#movedBefore, ...[...this.#swarms.values()].map(({ moved }) => moved)])
  }

  connectedNodes(): Set<NodeId> {
    return new Set([...this.#swarms.values()].flatMap(({ links }) => links.nodes))
  }

  async remove(id: SwarmId): Promise<void> {
    this.cache.gone(id)
    await this.#store.remove(id)
  }

  /** The cluster wants the blob gone: serves it to nobody from now on, and drops it once nobody reads it here. */
  withdraw(id: SwarmId): void {
    const swarm = this.#swarms.get(id)
    if (swarm?.isWanted) swarm.links.withdraw()
    else this.drop(id)
    this.#onHoldings()
  }

  /** Removes a blob; nobody awaits the result. */
  drop(id: SwarmId): void {
    // A failed removal affects nothing else: the blob is no longer served, and goes at the next start.
    this.#parts.defects.boundary('swarm', () => undefined).run(() => this.remove(id))
  }

  /** Resolves when the hashes of the pieces that this node fetched are published, or after `patienceMs`. */
  async published(patienceMs: number): Promise<void> {
    const publishing = Promise.all([...this.#swarms.values()].map((swarm) => swarm.published()))
    const late = new AbortController()
    const lateness = setTimeout(patienceMs, undefined, { signal: late.signal }).catch(() => undefined)
    await Promise.race([publishing, lateness])
    late.abort()
  }

  async close(): Promise<void> {
    for (const swarm of this.#swarms.values()) swarm.close()
    await this.cache.close()
    await this.#store.close()
  }

  /** For copies of pushed blobs. */
  pushedFiles(): Pick<PushedCopyParts, 'createFile' | 'reserve' | 'release' | 'discard'> {
    return {
      createFile: () => this.#store.createPushed(),
      reserve: async (bytes) => {
        const evicted = await this.#store.reservePushed(bytes, this.#isIdle)
        this.cache.madeRoom(evicted)
      },
      release: (bytes) => this.#store.releasePushed(bytes),
      discard: (file) => this.#store.discardPushed(file),
    }
  }

  /** Takes a pushed blob into the store. @returns undefined if the blob is here already, in whole or in part */
  async adopt(
    id: SwarmId,
    { registry, repository, digest, bytes }: BlobRequest,
    copy: SealedCopy,
  ): Promise<Swarm | undefined> {
    const blob = { swarm: id, key: { registry, digest }, bytes, repository }
    const stored = await this.#store.adopt(blob, copy.file)
    const swarm = stored && this.#on(stored)
    swarm?.took(copy.pieces)
    return swarm
  }

  async #create(id: SwarmId, { registry, repository, digest, bytes }: BlobRequest): Promise<Swarm> {
    const blob = { swarm: id, key: { registry, digest }, bytes, repository }
    const { created, evicted } = await this.#store.create(blob, this.#isIdle).catch((error: unknown) => {
      this.cache.noteFull(error, bytes)
      throw error
    })
    this.cache.noteFits(bytes)
    this.cache.madeRoom(evicted)
    return this.#on(created)
  }

  /** Peers stay connected for a blob as long as their certificates last. That must not keep the blob here. */
  readonly #isIdle = (blob: StoredBlob) => !this.#swarms.get(blob.swarm)?.isWanted

  /** Peers were told of a whole blob: their connections begin anew. Readers in the middle get the rest from the registry. */
  #lost({ swarm, have }: StoredBlob, pieces: readonly PieceIndex[], wasComplete: boolean): void {
    const running = this.#swarms.get(swarm)
    if (running !== undefined && wasComplete) running.isDamaged = true
    if (have.count === 0) this.drop(swarm)
    else if (wasComplete) this.#forget(swarm)
    else running?.lost(pieces)
  }

  #on(stored: StoredBlob): Swarm {
    const existing = this.#swarms.get(stored.swarm)
    if (existing) return existing
    const swarm = new Swarm(stored, {
      ...this.#parts,
      registry: this.#registries.get(stored.key.registry)!,
      onFailed: (failed, reason) => {
        this.#onFailed(failed, reason)
        this.drop(failed.swarm)
      },
      onUnread: (unread) => this.drop(unread.swarm),
      onDamaged: (swarm, pieces) => this.cache.damaged(swarm.stored, pieces),
      onHoldings: this.#onHoldings,
    })
    this.#swarms.set(stored.swarm, swarm)
    return swarm
  }

  #forget(id: SwarmId): void {
    const swarm = this.#swarms.get(id)
    if (swarm === undefined) return
    this.#movedBefore = sumOf([this.#movedBefore, swarm.moved])
    swarm.close(new StoreClosedError('the blob left the store'))
    this.#swarms.delete(id)
  }
}
