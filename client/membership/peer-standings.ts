import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId } from '../../core/metainfo.ts'
import type { PeersStatus } from '../client.ts'

/** Peers whose last failure is remembered. */
const PEERS_MAX = 4096
/** How long a failed peer counts; meanwhile it was dialled several times. */
export const PEER_FAILURE_MS = 5 * 60_000

type Failure = keyof PeersStatus['events']

/** Which peers failed lately, and how. For display only. */
export class PeerStandings {
  readonly #failures = new BoundedMap<NodeId, { failure: Failure; atMs: number }>(PEERS_MAX)
  readonly #events = { refused: 0, unreachable: 0 }
  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** @param node undefined for one that was refused before it was known */
  failed(failure: Failure, node?: NodeId): void {
    this.#events[failure] += 1
    if (node !== undefined) this.#failures.set(node, { failure, atMs: this.#nowMs() })
  }

  status(connected: ReadonlySet<NodeId>): PeersStatus {
    const counts = { refused: 0, unreachable: 0 }
    for (const node of this.#failures.keys()) {
      const { failure, atMs } = this.#failures.get(node)!
      if (!connected.has(node) && this.#nowMs() - atMs < PEER_FAILURE_MS) counts[failure] += 1
    }
    return { connected: connected.size, ...counts, events: { ...this.#events } }
  }
}
