import { setTimeout as wait } from 'node:timers/promises'
import type { ReturnedFor } from '../../core/admin-api/calls.ts'
import type { AdminParts } from './handler.ts'

/** Events as they happen. All trackers of a store write them to its audit log, so they are read there. */

/** How often a stream of events looks for new ones. */
export const EVENTS_LOOK_MS = 1_000
/** Entries of the audit log that a stream of events sends at a time; when there are more, its reader is told that some are missing. */
export const EVENTS_PER_LOOK_MAX = 500

type Event = ReturnedFor<'events.follow'>
type Parts = Pick<AdminParts, 'store' | 'clusters' | 'peers' | 'pauses'>

/** @param after sequence number of the last entry that the reader knows; absent: all that are there now */
export async function* followEvents(
  { store, clusters, peers, pauses }: Parts,
  after: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Event> {
  let last = after ?? (await store.audit({ limit: 1 }))[0]?.sequence ?? 0
  let toldFleet = ''
  while (!signal.aborted) {
    const newest = await store.audit({ limit: EVENTS_PER_LOOK_MAX })
    const entries = newest.filter(({ sequence }) => sequence > last).reverse()
    const [first] = entries
    if (entries.length === EVENTS_PER_LOOK_MAX && first!.sequence > last + 1) yield { kind: 'gap', id: last }
    for (const entry of entries) {
      last = entry.sequence
      yield { kind: 'audit', id: last, entry }
    }
    const fleet = clusters.list().map(({ cluster }) => ({
      cluster,
      nodesHeard: peers.of(cluster).nodeCount,
      isPaused: pauses.list().some((it) => it.cluster === cluster && it.node === null),
    }))
    if (JSON.stringify(fleet) !== toldFleet) {
      toldFleet = JSON.stringify(fleet)
      yield { kind: 'fleet', id: last, fleet }
    }
    await wait(EVENTS_LOOK_MS, undefined, { signal }).catch(() => undefined)
    yield { kind: 'alive', id: last }
  }
}
