import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'

/** How long one node has to bring the SHA-1 hashes before another is asked. */
export const SHA1_PATIENCE_MS = 60_000
/** Bound of swarms that wait for their SHA-1 hashes. */
export const SHA1_ASKED_MAX = 10_000

/** Which node was asked to compute a blob's SHA-1 hashes: one per blob, as it costs a pass over all bytes. */
export class Sha1Askers {
  readonly #asked = new BoundedMap<SwarmId, { node: NodeId; untilMs: number }>(SHA1_ASKED_MAX)

  /** True when it is this node's turn: the first that asks, or the next one when that one did not deliver. */
  isAsked(swarm: SwarmId, node: NodeId, nowMs: number): boolean {
    const asked = this.#asked.get(swarm)
    if (asked !== undefined && asked.untilMs > nowMs) return asked.node === node
    this.#asked.set(swarm, { node, untilMs: nowMs + SHA1_PATIENCE_MS })
    return true
  }
}
