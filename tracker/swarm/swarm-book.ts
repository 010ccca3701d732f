import { BoundedMap } from '../../core/bounded-map.ts'
import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import { RefusedError, StoreConflictError } from '../errors.ts'
import type { Store, SwarmIdentity } from '../store/store.ts'
import { SwarmState } from './swarm-state.ts'

/** Bound of swarms kept in memory: 128 pieces take about 10 KiB, so that these take about 40 MiB. */
export const SWARMS_CACHED_MAX = 4096
/** Another tracker may be first this often before the request fails. */
const SAVE_ATTEMPTS_MAX = 5

interface CachedSwarm {
  state: SwarmState
  version: number
}

/**
 * Swarms, read through a cache. Steps on one swarm run one after the other; each sees the newest stored version, and
 * its change is saved before its result is told, so that a killed tracker never promised what it forgot.
 */
export class SwarmBook {
  readonly #store: Store
  readonly #cache = new BoundedMap<SwarmId, CachedSwarm>(SWARMS_CACHED_MAX)
  readonly #queues = new Map<SwarmId, Promise<unknown>>()

  constructor(store: Store) {
    this.#store = store
  }

  /** As `step`, for a swarm that is made when it is new. */
  async open<T>(identity: SwarmIdentity, work: (state: SwarmState) => T): Promise<T> {
    if (!this.#cache.has(identity.swarm)) await this.#store.ensureSwarm(identity)
    return this.step(identity.cluster, identity.swarm, work)
  }

  /**
   * Runs `work` on the swarm and saves what it changed. `work` may run again when another tracker was first.
   * @throws RefusedError SWARM_UNKNOWN when the cluster has no such swarm
   */
  async step<T>(cluster: ClusterId, swarm: SwarmId, work: (state: SwarmState) => T): Promise<T> {
    const before = this.#queues.get(swarm) ?? Promise.resolve()
    const running = before.then(
      () => this.#attempt(cluster, swarm, work),
      () => this.#attempt(cluster, swarm, work),
    )
    this.#queues.set(swarm, running)
    try {
      return await running
    } finally {
      if (this.#queues.get(swarm) === running) this.#queues.delete(swarm)
    }
  }

  async #attempt<T>(cluster: ClusterId, swarm: SwarmId, work: (state: SwarmState) => T): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const cached = await this.#load(cluster, swarm)
      try {
        return await this.#apply(cached, work)
      } catch (error) {
        const isUntouched = error instanceof RefusedError && cached.state.takeChange() === undefined
        if (isUntouched) throw error
        // What is in memory may be ahead of the store now: the next step reads it again.
        this.#cache.delete(swarm)
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
    return result
  }

  async #load(cluster: ClusterId, swarm: SwarmId): Promise<CachedSwarm> {
    const cached = this.#cache.get(swarm)
    const version = await this.#store.swarmVersion(cluster, swarm)
    if (version === undefined) throw new RefusedError('SWARM_UNKNOWN', `this cluster has no swarm ${swarm}`)
    if (cached !== undefined && cached.version === version) return cached
    const record = await this.#store.loadSwarm(cluster, swarm)
    if (record === undefined) throw new RefusedError('SWARM_UNKNOWN', `this cluster has no swarm ${swarm}`)
    const loaded = { state: new SwarmState(record), version: record.version }
    this.#cache.set(swarm, loaded)
    return loaded
  }
}
