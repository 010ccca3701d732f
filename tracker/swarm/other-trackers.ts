import type { Logger } from 'pino'
import { type Defects, isDefect } from '../../core/defects.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { Revocations } from '../authority/revocations.ts'
import type { PresenceElsewhere } from '../store/changes.ts'
import type { Store } from '../store/store.ts'
import { TokenBucket } from '../token-bucket.ts'
import type { PeerTables } from './peer-tables.ts'

/** How often a tracker tells the others of its store what it hears, and looks what they heard; pulls do so at once. */
export const TRACKERS_MEET_MS = 1_000
/** Nodes told at a time: heartbeats do not prove what they claim, and each may claim 210 KB. */
export const PRESENCES_TOLD_MAX = 16
/** Nodes told per second on average; the others wait, and the oldest change goes first. */
export const PRESENCES_TOLD_PER_SECOND_MAX = 64
/** Nodes told after a quiet time, as at the beginning of a release. */
export const PRESENCES_TOLD_BURST_MAX = 512
/** How long a pull waits for what other trackers know. */
export const MEET_PATIENCE_MS = 200

interface Parts {
  store: Store
  peers: PeerTables
  revocations: Revocations
  log: Logger
  defects: Defects
  nowMs(): number
}

/**
 * Nodes that send their heartbeats to another tracker of the same store. They are listed here too, for as long as that
 * tracker is alive and does not say that they are gone; of a tracker that ended, until each would have been silent for too
 * long. Its nodes have moved by then.
 */
export class OtherTrackers {
  readonly #parts: Parts
  /** A tracker counts as alive for this long, in ms. */
  readonly #silentMs: number
  readonly #nodes = new Map<string, { tracker: string; cluster: ClusterId; node: NodeId }>()
  readonly #told: TokenBucket
  #cursor = 0
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(parts: Parts, silentMs: number) {
    this.#parts = parts
    this.#silentMs = silentMs
    const bounds = { perSecond: PRESENCES_TOLD_PER_SECOND_MAX, burst: PRESENCES_TOLD_BURST_MAX }
    this.#told = new TokenBucket(bounds, parts.nowMs())
  }

  /** For a pull, which waits MEET_PATIENCE_MS at most. */
  async meetSoon(): Promise<void> {
    await isSettledWithin(this.meet(), MEET_PATIENCE_MS)
  }

  /**
   * Tells first and looks then: of two nodes that begin a pull at the same moment at different trackers, at least one
   * hears of the other. Everybody who asks while it runs shares the next run. Does not fail: a pull goes on without.
   */
  meet(): Promise<void> {
    if (!this.#parts.store.isShared) return Promise.resolve()
    this.#next ??= this.#running.then(() => {
      this.#next = undefined
      this.#running = this.#meetNow()
      return this.#running
    })
    return this.#next
  }

  async #meetNow(): Promise<void> {
    const { log, defects } = this.#parts
    const failed = (error: unknown) => {
      if (isDefect(error)) defects.note('tracker_job', error)
      log.warn({ err: error }, 'cannot exchange with the other trackers who has what')
    }
    await this.#tell().catch(failed)
    await this.#look().catch(failed)
  }

  async #tell(): Promise<void> {
    const { store, peers, nowMs } = this.#parts
    let places = 0
    while (places < PRESENCES_TOLD_MAX && this.#told.take(nowMs())) places += 1
    const taken = peers.takeUnsaved(places)
    this.#told.giveBack(places - taken.presences.length - taken.gone.length)
    if (taken.presences.length + taken.gone.length === 0) return
    try {
      await store.saveMemory({ ...taken, acceptances: [], memberships: [] })
    } catch (error) {
      for (const { cluster, node } of [...taken.presences, ...taken.gone]) peers.of(cluster).markUnsaved(node)
      throw error
    }
  }

  async #look(): Promise<void> {
    const { store, peers, nowMs } = this.#parts
    const { cursor, alive, presences } = await store.meetTrackers(this.#cursor, this.#silentMs)
    this.#cursor = cursor
    for (const presence of presences) this.#take(presence)
    const living = new Set(alive)
    for (const [key, { tracker, cluster, node }] of this.#nodes) {
      if (!living.has(tracker) || peers.of(cluster).isHeardHere(node)) this.#nodes.delete(key)
      else peers.of(cluster).keep(node, nowMs())
    }
  }

  /** A node that talks to this tracker is known better here. */
  #take({ tracker, cluster, ...presence }: PresenceElsewhere): void {
    const { peers, revocations, nowMs } = this.#parts
    const { node, holds } = presence
    const table = peers.of(cluster)
    if (table.isHeardHere(node) || revocations.isNodeRevoked(cluster, node)) return
    const key = `${cluster} ${node}`
    if (holds.length > 0) {
      this.#nodes.set(key, { tracker, cluster, node })
      table.restore(presence, nowMs())
    } else if (this.#nodes.get(key)?.tracker === tracker) {
      this.#nodes.delete(key)
      table.forget(node)
    }
  }
}

/** @returns a function that stops it */
export function meetRegularly(others: OtherTrackers): () => void {
  const timer = setInterval(() => void others.meet(), TRACKERS_MEET_MS)
  timer.unref()
  return () => clearInterval(timer)
}
