import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { addressText } from '../../core/network.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { PeersStatus } from '../client.ts'

type PeerAddress = Pick<Peer, 'node' | 'address' | 'port'>

/** Bound of remembered addresses, about 100 bytes each. One that is forgotten counts as working. */
export const ADDRESSES_MAX = 4096
/** A dial that has not reached the other side by then is not waited for. Within one site it takes milliseconds. */
export const CONNECT_LATE_MS = 300
/** The same for the TLS handshake after it: a busy peer may need so long, a frozen one never answers. */
export const HANDSHAKE_LATE_MS = 1_500
/** Pause before an address that cannot be reached is dialled again, for the whole node; doubled each time. */
const PROBE_MS = 1_000
/** The same once its node has dialled this one: it runs again, or its port is closed to others only. */
const RETURNED_MS = 250
/** An address that no swarm has dialled for this time is forgotten: its node has left the cluster, or nobody needs it. */
const FORGOTTEN_AFTER_MS = 10 * 60_000
/** Longest pause: a peer that comes back is found within this time. */
const PROBE_MS_MAX = 30_000

/** How long a failed peer counts in the status; meanwhile it was dialled several times. */
export const PEER_FAILURE_MS = 5 * 60_000

/** `refused`: it answered, and one side did not take the other. */
type Failure = keyof PeersStatus['events']

interface Trouble {
  node: NodeId
  /** How the last dial ended; `late`: it may still succeed. */
  state: 'late' | Failure
  failedAtMs: number
  /** Dials in a row that reached nobody. */
  failures: number
  /** When one swarm of this node may dial again. */
  probeAtMs: number
}

/**
 * Which peers' addresses this node can reach. Shared by all swarms, so that a closed port costs one image, once. Pure: the
 * times are passed in.
 *
 *   WORKING ──a dial is late──► SUSPECT ──it fails──► OFF ──a dial now and then──► WORKING
 *
 * Nobody waits for an address that is SUSPECT or OFF. A link that opens all the same is used. A peer that refuses works:
 * that is remembered for the status alone.
 */
export class PeerAddresses {
  readonly #troubles = new BoundedMap<string, Trouble>(ADDRESSES_MAX)

  isWorking(peer: PeerAddress): boolean {
    const trouble = this.#troubleOf(peer)
    return trouble === undefined || trouble.state === 'refused'
  }

  /** A dial is worth it: the address works, or it is time to look again. */
  mayDial(peer: PeerAddress, nowMs: number): boolean {
    return this.isWorking(peer) || this.#troubleOf(peer)!.probeAtMs <= nowMs
  }

  /** A dial begins: until the pause is over, it is the only one to an address in trouble. */
  dialled(peer: PeerAddress, nowMs: number): void {
    const trouble = this.#troubleOf(peer)
    if (trouble) trouble.probeAtMs = nowMs + pauseMs(trouble.failures)
  }

  /** Its node runs: it has dialled this one. */
  returned(peer: PeerAddress): void {
    const trouble = this.#troubleOf(peer)
    if (trouble) trouble.probeAtMs = Math.min(trouble.probeAtMs, trouble.failedAtMs + RETURNED_MS)
  }

  /** A dial in flight takes too long. */
  late(peer: PeerAddress, nowMs: number): void {
    if (this.isWorking(peer)) this.#note(peer, { state: 'late', failures: 0, nowMs })
  }

  /** A dial reached nobody. @returns when the address is forgotten, unless somebody dials it before */
  failed(peer: PeerAddress, nowMs: number): number {
    const failures = (this.#troubleOf(peer)?.failures ?? 0) + 1
    return this.#note(peer, { state: 'unreachable', failures, nowMs }) + FORGOTTEN_AFTER_MS
  }

  /** The other side answered, and no link came of it. */
  refused(peer: PeerAddress, nowMs: number): void {
    this.#note(peer, { state: 'refused', failures: 0, nowMs })
  }

  /** A link opened. */
  answered(peer: PeerAddress): void {
    this.#troubles.delete(nameOf(peer))
  }

  /** Forgets the addresses that are no longer dialled; they count as working again. */
  forgetUnused(nowMs: number): void {
    for (const [name, { probeAtMs }] of [...this.#troubles.entries()])
      if (nowMs - probeAtMs > FORGOTTEN_AFTER_MS) this.#troubles.delete(name)
  }

  /** Peers that failed lately and are not connected, by how. */
  failedLately(connected: ReadonlySet<NodeId>, nowMs: number): Record<Failure, number> {
    const counts = { refused: 0, unreachable: 0 }
    for (const { node, state, failedAtMs } of this.#troubles.values()) {
      const isCounted = state !== 'late' && !connected.has(node) && nowMs - failedAtMs < PEER_FAILURE_MS
      if (isCounted) counts[state] += 1
    }
    return counts
  }

  #troubleOf(peer: PeerAddress): Trouble | undefined {
    return this.#troubles.get(nameOf(peer))
  }

  #note(peer: PeerAddress, seen: Pick<Trouble, 'state' | 'failures'> & { nowMs: number }): number {
    const { state, failures, nowMs } = seen
    const probeAtMs = nowMs + pauseMs(failures)
    this.#troubles.set(nameOf(peer), { node: peer.node, state, failures, failedAtMs: nowMs, probeAtMs })
    return probeAtMs
  }
}

/** What operators know a peer by. */
export function nameOf({ address, port }: Pick<Peer, 'address' | 'port'>): string {
  return addressText({ host: address, port })
}

function pauseMs(failures: number): number {
  return Math.min(PROBE_MS_MAX, PROBE_MS * 2 ** Math.max(0, failures - 1))
}
