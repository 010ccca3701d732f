import type { NodeId } from '../../core/metainfo.ts'

/** Nodes that must report a registry without ranges before it holds; one alone could leave a swarm with a single reader. */
export const RANGE_WITNESSES = 2

/** Which nodes found that the registry of a swarm's blob ignores Range. Pure: the clock is passed in. */
export class RangeWitnesses {
  readonly #nodes = new Set<NodeId>()
  #lastMs = Number.NEGATIVE_INFINITY

  saw(node: NodeId, nowMs: number): void {
    if (this.#nodes.size >= RANGE_WITNESSES || this.#nodes.has(node)) return
    this.#nodes.add(node)
    this.#lastMs = nowMs
  }

  /** Whether the registry counts as one without ranges: one node is believed for the time of a lease, two for good. */
  agree({ nowMs, leaseMs }: { nowMs: number; leaseMs: number }): boolean {
    return this.#nodes.size >= RANGE_WITNESSES || nowMs < this.#lastMs + leaseMs
  }
}
