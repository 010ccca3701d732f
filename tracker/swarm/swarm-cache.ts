import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import { RefusedError, StoreConflictError } from '../errors.ts'
import type { Store, SwarmIdentity } from '../store/store.ts'
import { SwarmState } from './swarm-state.ts'

/** Bound of swarms kept in memory: about 2 KiB each, without their pieces. */
export const SWARMS_CACHED_MAX = 4096
/**
 * Bound of their pieces. 128 pieces take about 10 KiB if one pull published four at a time (40 MiB for all), and 58 KiB
 * if each comes from another pull. The largest blob has half as many.
 */
export const PIECES_CACHED_MAX = 2 ** 19
/** Attempts before the request fails because another tracker saved first each time. */
const SAVE_ATTEMPTS_MAX = 5

interface CachedSwarm {
  state: SwarmState
  version: number
  /** The value of `state.piecesHeld` that the sum includes. */
  pieces: number
}

/**
 * Swarms, read through a cache. Steps on one swarm run one after the other. Each sees the newest stored version, and
 * saves its change before it returns, so that a killed tracker never forgets a promise. Invariant: `#pieces` is the sum
 * over the cache, and the cache stays within its bounds. The entry loaded longest ago goes first.
 */
export class SwarmCache {
  readonly #store: Store
  readonly #cache = new Map<SwarmId, CachedSwarm>()
  #pieces = 0
  readonly #queues = new Map<SwarmId, Promise<unknown>>()

  constructor(store: Store) {
    this.#store = store
  }

  /** Like `step`, but makes the swarm if it is new. */
  open<T>(identity: SwarmIdentity, work: (state: SwarmState) => T): Promise<T> {
    return this.#inTurn(identity.swarm, () =>
      this.#attempt(identity, work, () => this.#store.ensureSwarm(identity)),
    )
  }

  get piecesCached(): number {
    return this.#pieces
  }

  /**
   * Runs `work` on the swarm and saves its change. `work` runs again if another tracker saved first.
   * @throws RefusedError SWARM_UNKNOWN when the cluster has no such swarm
   */
  step<T>(cluster: ClusterId, swarm: SwarmId, work: (state: SwarmState) => T): Promise<T> {
    return this.#inTurn(swarm, () => this.#attempt({ cluster, swarm }, work))
  }

  async #inTurn<T>(swarm: SwarmId, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(swarm) ?? Promise.resolve()
    const running = before.then(work, work)
    this.#queues.set(swarm, running)
    try {
      return await running
    } finally {
      if (this.#queues.get(swarm) === running) this.#queues.delete(swarm)
    }
  }

  /** @param make makes the swarm if the store has none */
  async #attempt<T>(
    { cluster, swarm }: Pick<SwarmIdentity, 'cluster' | 'swarm'>,
    work: (state: SwarmState) => T,
    make?: () => Promise<void>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const cached = await this.#load(cluster, swarm, make)
      try {
        return await this.#apply(cached, work)
      } catch (error) {
        const isUntouched = error instanceof RefusedError && cached.state.takeChange() === undefined
        if (isUntouched) throw error
        // Memory may be ahead of the store now, so the next step reads the swarm again.
        this.#forget(swarm)
        if (!(error instanceof StoreConflictError) || attempt === SAVE_ATTEMPTS_MAX) throw error
      }
    }
  }

  async #apply<T>(cached: CachedSwarm, work: (state: SwarmState) => T): Promise<T> {
    const result = work(cached.state)
    const change = cached.state.takeChange()
    if (change !== undefined) {
      await this.#store.saveSwarm(cached.state.identity.swarm, cached.version, change)
      cached.version += 1
    }
    this.#weigh(cached)
    return result
  }

  async #load(cluster: ClusterId, swarm: SwarmId, make?: () => Promise<void>): Promise<CachedSwarm> {
    const cached = this.#cache.get(swarm)
    const version = await this.#store.swarmVersion(cluster, swarm)
    if (version === undefined) await make?.()
    if (cached !== undefined && cached.version === version) return cached
    const record = await this.#store.loadSwarm(cluster, swarm)
    if (record === undefined) throw new RefusedError('SWARM_UNKNOWN', `this cluster has no swarm ${swarm}`)
    this.#forget(swarm)
    const loaded = { state: new SwarmState(record, cached?.state), version: record.version, pieces: 0 }
    this.#cache.set(swarm, loaded)
    this.#weigh(loaded)
    return loaded
  }

  /** Updates the sum with the swarm's pieces, and makes room. */
  #weigh(cached: CachedSwarm): void {
    const { swarm } = cached.state.identity
    if (this.#cache.get(swarm) !== cached) return
    this.#pieces += cached.state.piecesHeld - cached.pieces
    cached.pieces = cached.state.piecesHeld
    for (const other of this.#cache.keys()) {
      if (this.#cache.size <= SWARMS_CACHED_MAX && this.#pieces <= PIECES_CACHED_MAX) return
      if (other !== swarm) this.#forget(other)
    }
  }

  #forget(swarm: SwarmId): void {
    this.#pieces -= this.#cache.get(swarm)?.pieces ?? 0
    this.#cache.delete(swarm)
  }
}
