import { isDefect } from '../core/defects.ts'
import type { ClusterId, NodeId } from '../core/metainfo.ts'
import type { TrackerParts } from './parts.ts'
import type { PresenceElsewhere } from './store/changes.ts'

/** How often a tracker looks what the others of its store saw. */
export const TRACKERS_MEET_MS = 1_000

type Parts = Pick<TrackerParts, 'store' | 'peers' | 'revocations' | 'log' | 'defects' | 'nowMs'>

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
  #cursor = 0

  constructor(parts: Parts, silentMs: number) {
    this.#parts = parts
    this.#silentMs = silentMs
  }

  async meet(): Promise<void> {
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
export function meetTrackersRegularly(parts: Parts, silentMs: number): () => void {
  if (!parts.store.isShared) return () => undefined
  const others = new OtherTrackers(parts, silentMs)
  let isMeeting = false
  const meet = async () => {
    if (isMeeting) return
    isMeeting = true
    try {
      await others.meet()
    } catch (error) {
      if (isDefect(error)) parts.defects.note('tracker_job', error)
      parts.log.error({ err: error }, 'cannot learn what other trackers saw')
    } finally {
      isMeeting = false
    }
  }
  void meet()
  const timer = setInterval(() => void meet(), TRACKERS_MEET_MS)
  timer.unref()
  return () => clearInterval(timer)
}
