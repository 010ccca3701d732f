import { setTimeout as wait } from 'node:timers/promises'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
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
/** Of a swarm in memory that must be read again. */
const NO_VERSION = -1
/** Attempts before a step is refused because another tracker saved first each time. */
export const SAVE_ATTEMPTS_MAX = 10
/** The longest pause after the first of them, doubled after each further one … */
export const SAVE_PAUSE_MS = 5
/** … up to this: less than a second in all. Each is shorter by chance, so that trackers fall out of step. */
export const SAVE_PAUSE_MS_MAX = 200

/**
 * A step that may decide by an older state trusts what was read or saved this short a time ago, where other trackers use the
 * store too. If it changes something the store still compares versions; if it is refused it looks again.
 */
export const SWARM_TRUSTED_MS = 100

/** A call about a swarm. */
interface Asked {
  /** When the call came. */
  atMs?: number
  /** Its answer may lack what another tracker saved within SWARM_TRUSTED_MS. */
  mayBeOlder?: boolean
}

interface CachedSwarm {
  state: SwarmState
  version: number
  /** When it was surely the newest version, by `performance.now()`. */
  newestAtMs: number
  /** The value of `state.piecesHeld` that the sum includes. */
  pieces: number
}

type SwarmKey = Pick<SwarmIdentity, 'cluster' | 'swarm'>
/** @param askedAtMs when the call came */
type Work<T> = (state: SwarmState, askedAtMs: number) => T
interface Make {
  /** Makes the swarm if the store has none. */
  make?: () => Promise<void>
}
type Attempt = Asked & Make & { atMs: number }

/**
 * Swarms, read through a cache. Steps on one swarm run one after the other. Each sees the newest stored version, or if it
 * says so one that was the newest at most SWARM_TRUSTED_MS ago; what it changes is always a change of the newest. It saves
 * its change before it returns, so that a killed tracker never forgets a promise. Invariant: `#pieces` is the sum
 * over the cache, and the cache stays within its bounds. The entry loaded longest ago goes first.
 */
export class SwarmCache {
  readonly #store: Store
  readonly #nowMs: () => number
  readonly #random: () => number
  readonly #cache = new Map<SwarmId, CachedSwarm>()
  #pieces = 0
  readonly #queues = new Map<SwarmId, Promise<unknown>>()

  constructor(store: Store, nowMs: () => number = Date.now, random: () => number = Math.random) {
    this.#store = store
    this.#nowMs = nowMs
    this.#random = random
  }

  /** Like `step`, but makes the swarm if it is new. */
  open<T>(identity: SwarmIdentity, work: Work<T>, asked: Asked = {}): Promise<T> {
    return this.#inTurn(identity, work, { ...asked, make: () => this.#store.ensureSwarm(identity) })
  }

  /** One look at all swarms of a grant: those in memory that are still the newest are trusted for SWARM_TRUSTED_MS. */
  async lookAt(cluster: ClusterId, swarms: readonly SwarmId[]): Promise<void> {
    const cached = swarms.filter((swarm) => this.#cache.has(swarm))
    if (!this.#store.isShared || cached.length < 2) return
    const newestAtMs = performance.now()
    const versions = await this.#store.swarmVersions(cluster, cached)
    for (const [swarm, version] of versions) {
      const known = this.#cache.get(swarm)
      if (known?.version === version) known.newestAtMs = Math.max(known.newestAtMs, newestAtMs)
    }
  }

  /** Those of the swarms of which the node holds a lease, as far as memory knows: it may lack what another tracker saved. */
  leasedTo(node: NodeId, swarms: readonly SwarmId[]): SwarmId[] {
    const leases = (swarm: SwarmId) => this.#cache.get(swarm)?.state.leases.running(this.#nowMs()) ?? []
    return swarms.filter((swarm) => leases(swarm).some((lease) => lease.node === node))
  }

  get piecesCached(): number {
    return this.#pieces
  }

  /**
   * Runs `work` on the swarm and saves its change. `work` runs again if another tracker saved first. It is told when the call
   * came: a holder is not late because its call waited for its turn or for the store.
   * @throws RefusedError SWARM_UNKNOWN when the cluster has no such swarm; SWARM_BUSY when another tracker saved first each time.
   *   A step that changes nothing is never busy
   */
  step<T>(cluster: ClusterId, swarm: SwarmId, work: Work<T>, asked: Asked = {}): Promise<T> {
    return this.#inTurn({ cluster, swarm }, work, asked)
  }

  async #inTurn<T>(key: SwarmKey, work: Work<T>, { atMs = this.#nowMs(), ...how }: Asked & Make): Promise<T> {
    const { swarm } = key
    const before = this.#queues.get(swarm) ?? Promise.resolve()
    const step = () => this.#attempt(key, work, { atMs, ...how })
    const running = before.then(step, step)
    this.#queues.set(swarm, running)
    try {
      return await running
    } finally {
      if (this.#queues.get(swarm) === running) this.#queues.delete(swarm)
    }
  }

  async #attempt<T>(key: SwarmKey, work: Work<T>, { atMs, ...how }: Attempt): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const beganMs = performance.now()
      const cached = await this.#load(key, how)
      try {
        const result = await this.#apply(cached, (state) => work(state, atMs))
        cached.state.seen.answers.note(this.#nowMs() - atMs)
        return result
      } catch (error) {
        const isUntouched = error instanceof RefusedError && cached.state.takeChange() === undefined
        if (isUntouched && cached.newestAtMs >= beganMs) throw error
        const isOutdone = error instanceof StoreConflictError
        // Memory may be ahead of the store now, so the swarm is read again; what is not stored goes on if it was only outdone.
        if (isUntouched || isOutdone) cached.newestAtMs = Number.NEGATIVE_INFINITY
        if (isOutdone) cached.version = NO_VERSION
        else if (!isUntouched) this.#forget(key.swarm)
        if (!(isUntouched || isOutdone)) throw error
        if (attempt === SAVE_ATTEMPTS_MAX) throw isOutdone ? busy(key.swarm, error) : error
        if (isOutdone) await wait(this.#random() * pauseMsMax(attempt))
      }
    }
  }

  async #apply<T>(cached: CachedSwarm, work: (state: SwarmState) => T): Promise<T> {
    const result = work(cached.state)
    const change = cached.state.takeChange()
    if (change !== undefined) {
      const beganMs = performance.now()
      try {
        await this.#store.saveSwarm(cached.state.identity.swarm, cached.version, change)
      } catch (error) {
        // Nobody got these leases.
        for (const { lease } of change.putLeases) cached.state.seen.refetches.release(lease)
        throw error
      }
      cached.version += 1
      cached.newestAtMs = beganMs
    }
    this.#weigh(cached)
    return result
  }

  async #load(
    { cluster, swarm }: SwarmKey,
    { mayBeOlder = false, make }: Asked & Make,
  ): Promise<CachedSwarm> {
    const cached = this.#cache.get(swarm)
    const newestAtMs = performance.now()
    if (cached !== undefined) {
      const isTrusted =
        mayBeOlder && this.#store.isShared && newestAtMs - cached.newestAtMs < SWARM_TRUSTED_MS
      if (isTrusted) return cached
      if (
        cached.version !== NO_VERSION &&
        cached.version === (await this.#store.swarmVersion(cluster, swarm))
      )
        return Object.assign(cached, { newestAtMs })
    }
    let record = await this.#store.loadSwarm(cluster, swarm)
    if (record === undefined && make !== undefined) {
      await make()
      record = await this.#store.loadSwarm(cluster, swarm)
    }
    if (record === undefined) throw new RefusedError('SWARM_UNKNOWN', `this cluster has no swarm ${swarm}`)
    this.#forget(swarm)
    const { version } = record
    const loaded = { state: new SwarmState(record, cached?.state), version, newestAtMs, pieces: 0 }
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

function pauseMsMax(attempt: number): number {
  return Math.min(SAVE_PAUSE_MS_MAX, SAVE_PAUSE_MS * 2 ** (attempt - 1))
}

function busy(swarm: SwarmId, cause: Error): RefusedError {
  return new RefusedError('SWARM_BUSY', `other trackers change swarm ${swarm} all the time`, { cause })
}
