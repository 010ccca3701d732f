import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId } from '../../core/metainfo.ts'

/** Proofs that a node verifies in a second, of all its links together: 4 % of a core for ES256, a fifth for the slowest. */
export const PROOFS_PER_SECOND_MAX = 50
/** The proofs of this time may come at once: a release begins at the same moment on all nodes. */
const BURST_MS = 1_000

/** Nobody waits longer: the registry is faster. */
export const PROOF_WAIT_MS_MAX = 10_000
/** A timer may be early by this much. */
const TIMER_EARLY_MS = 5
/** More nodes than can wait at once. */
const WAITING_NODES_MAX = (PROOF_WAIT_MS_MAX / 1000) * PROOFS_PER_SECOND_MAX

/**
 * Spreads the verification of proofs; each node waits for one at a time, whatever links it opens. A proof that was verified
 * before costs nothing. Pure: the clock is passed in.
 */
export class ProofRate {
  #freeAtMs = 0
  /** When each node's last place is. */
  readonly #placeOf = new BoundedMap<NodeId, number>(WAITING_NODES_MAX)

  /** Reserves a place. @returns how long to wait for it; undefined: there is none for this node now */
  take(nowMs: number, node: NodeId): number | undefined {
    if ((this.#placeOf.get(node) ?? 0) > nowMs + TIMER_EARLY_MS) return undefined
    const atMs = Math.max(this.#freeAtMs, nowMs - BURST_MS)
    if (atMs - nowMs > PROOF_WAIT_MS_MAX) return undefined
    this.#freeAtMs = atMs + 1000 / PROOFS_PER_SECOND_MAX
    this.#placeOf.set(node, atMs)
    return Math.max(0, atMs - nowMs)
  }
}
