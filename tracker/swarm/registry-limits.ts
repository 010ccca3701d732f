import { BoundedMap } from '../../core/bounded-map.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'

/** Distinct nodes that must have met 429: one alone may have used up a limit of its own address or user. */
export const LIMIT_WITNESSES = 2
/** Bound of remembered witnesses of one registry; more than LIMIT_WITNESSES, as they end at different times. */
export const LIMIT_WITNESSES_MAX = 16
/** Bound of clusters and registries with witnesses; the oldest go first. */
export const LIMITED_REGISTRIES_MAX = 1024

/**
 * Which registries limit a cluster's requests (429). One node's 429 stops that node; two nodes' stop the leases of the
 * cluster for as long as both were told to wait. Not stored. The clock is passed in.
 */
export class RegistryLimits {
  readonly #witnesses = new BoundedMap<string, BoundedMap<NodeId, number>>(LIMITED_REGISTRIES_MAX)

  /** The registry told the node to wait for `forMs`. */
  note(cluster: ClusterId, registry: RegistryHost, { node, forMs, nowMs }: Witness): void {
    const id = `${cluster} ${registry}`
    const known = this.#witnesses.get(id) ?? new BoundedMap<NodeId, number>(LIMIT_WITNESSES_MAX)
    known.set(node, nowMs + forMs)
    this.#witnesses.set(id, known)
  }

  /** Milliseconds until pieces of the registry may be leased; 0 if they may be leased now. */
  leftMs(cluster: ClusterId, registry: RegistryHost, nowMs: number): number {
    const ends = [...(this.#witnesses.get(`${cluster} ${registry}`)?.values() ?? [])].sort((a, b) => b - a)
    return Math.max(0, (ends[LIMIT_WITNESSES - 1] ?? nowMs) - nowMs)
  }
}

interface Witness {
  node: NodeId
  forMs: number
  nowMs: number
}
