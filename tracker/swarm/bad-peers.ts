import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'

/** One report may be a lie about an honest peer; the tracker acts when two nodes report the same peer. */
export const REPORTERS_MIN = 2
/** How long a report counts. A node with a repaired disk gets its peers back. */
export const REPORT_MS = 10 * 60_000
/** Bound of reported peers; the oldest go first. */
const REPORTED_MAX = 10_000
/** Bound of reporters remembered per peer and swarm: more than two change nothing. */
const REPORTERS_MAX = 8

/**
 * Peers reported for pieces that do not match their signed hash. The tracker no longer hands them out for that swarm.
 * Nothing else follows: a report proves nothing, so it must not cost an honest node more than one swarm.
 */
export class BadPeers {
  readonly #reports = new BoundedMap<string, Map<NodeId, number>>(REPORTED_MAX)

  /** @returns false if the same node reported the same lately */
  report(reporter: NodeId, bad: { swarm: SwarmId; node: NodeId }, nowMs: number): boolean {
    const known = this.#reports.get(keyOf(bad)) ?? new Map<NodeId, number>()
    const isNew = (known.get(reporter) ?? 0) <= nowMs
    for (const [other, untilMs] of known) if (untilMs <= nowMs) known.delete(other)
    if (known.size < REPORTERS_MAX || known.has(reporter)) known.set(reporter, nowMs + REPORT_MS)
    this.#reports.set(keyOf(bad), known)
    return isNew
  }

  isShunned(swarm: SwarmId, node: NodeId, nowMs: number): boolean {
    const known = this.#reports.get(keyOf({ swarm, node }))
    if (known === undefined) return false
    return [...known.values()].filter((untilMs) => untilMs > nowMs).length >= REPORTERS_MIN
  }
}

function keyOf({ swarm, node }: { swarm: SwarmId; node: NodeId }): string {
  return `${swarm} ${node}`
}
