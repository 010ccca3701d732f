import { BoundedMap } from '../../core/bounded-map.ts'
import type { Conditions } from '../../core/conditions.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { NodeContact } from './peer-table.ts'

/** Nodes at one address and port from which on they are taken for nodes behind a balancer: two may be one that joined again. */
export const NODES_AT_ONE_ENDPOINT_MIN = 3
/** Nodes remembered at one address and port: more change nothing. */
const NODES_REMEMBERED_MAX = 64
/** Bound of remembered addresses and ports; the longest unheard go first. */
const ENDPOINTS_MAX = 20_000

/**
 * Finds nodes that seem to be at the same address and port, which cannot be: something between them and the tracker hides
 * their addresses (a routing mesh, a balancer without PROXY header, NAT). Memory only; the clock is passed in.
 */
export class SharedEndpoints {
  readonly #conditions: Conditions
  /** A node that was silent for so long is gone, in ms. */
  readonly #silentMs: number
  readonly #endpoints = new BoundedMap<string, BoundedMap<string, number>>(ENDPOINTS_MAX)

  constructor(conditions: Conditions, silentMs: number) {
    this.#conditions = conditions
    this.#silentMs = silentMs
  }

  /** The node was heard. */
  see(cluster: ClusterId, { node, address, port }: NodeContact, nowMs: number): void {
    const endpoint = `${address} ${port}`
    const nodes = this.#endpoints.get(endpoint) ?? new BoundedMap<string, number>(NODES_REMEMBERED_MAX)
    nodes.set(`${cluster} ${node}`, nowMs)
    this.#endpoints.set(endpoint, nodes)
    if (nodes.size < NODES_AT_ONE_ENDPOINT_MIN) return
    for (const [other, heardAtMs] of nodes.entries())
      if (nowMs - heardAtMs > this.#silentMs) nodes.delete(other)
    if (nodes.size < NODES_AT_ONE_ENDPOINT_MIN) return
    // Ends by itself once they are heard no more.
    const untilMs = Date.now() + 2 * this.#silentMs
    this.#conditions.raise('NODES_AT_ONE_ADDRESS', address, { port, nodes: nodes.size }, { untilMs })
  }
}
