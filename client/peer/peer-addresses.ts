import { BoundedMap } from '../../core/bounded-map.ts'
import type { Peer } from '../../core/tracker-api.ts'

/** Bound of remembered addresses, about 100 bytes each. One that is forgotten counts as working. */
export const ADDRESSES_MAX = 4096
/** A dial that has not reached the other side by then is not waited for. Within one site it takes milliseconds. */
export const CONNECT_LATE_MS = 300
/** The same for the TLS handshake after it: a busy peer may need so long, a frozen one never answers. */
export const HANDSHAKE_LATE_MS = 1_500
/** Pause before an address that cannot be reached is dialled again, for the whole node; doubled each time. */
const PROBE_MS = 2_000
/** An address that no swarm has dialled for this time is forgotten: its node has left the cluster, or nobody needs it. */
const FORGOTTEN_AFTER_MS = 10 * 60_000
/** Longest pause: a peer that comes back is found within this time. */
const PROBE_MS_MAX = 30_000

type Address = Pick<Peer, 'address' | 'port'>

interface Trouble {
  /** Dials in a row that failed; 0: one is late and may still succeed. */
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
 * Nobody waits for an address that is SUSPECT or OFF. A link that opens all the same is used.
 */
export class PeerAddresses {
  readonly #troubles = new BoundedMap<string, Trouble>(ADDRESSES_MAX)

  isWorking(address: Address): boolean {
    return !this.#troubles.has(nameOf(address))
  }

  /** A dial is worth it: the address works, or it is time to look again. */
  mayDial(address: Address, nowMs: number): boolean {
    return (this.#troubles.get(nameOf(address))?.probeAtMs ?? nowMs) <= nowMs
  }

  /** A dial begins: until the pause is over, it is the only one to an address in trouble. */
  dialled(address: Address, nowMs: number): void {
    const trouble = this.#troubles.get(nameOf(address))
    if (trouble) trouble.probeAtMs = nowMs + pauseMs(trouble.failures)
  }

  /** A dial in flight takes too long. */
  late(address: Address, nowMs: number): void {
    if (this.isWorking(address))
      this.#troubles.set(nameOf(address), { failures: 0, probeAtMs: nowMs + PROBE_MS })
  }

  /** A dial reached nobody. @returns true when the address is off from now on */
  failed(address: Address, nowMs: number): boolean {
    const failures = (this.#troubles.get(nameOf(address))?.failures ?? 0) + 1
    this.#troubles.set(nameOf(address), { failures, probeAtMs: nowMs + pauseMs(failures) })
    return failures === 1
  }

  /** @returns the names of the addresses that are no longer dialled; they count as working again */
  forgetUnused(nowMs: number): string[] {
    const unused = [...this.#troubles.keys()].filter(
      (name) => nowMs - this.#troubles.get(name)!.probeAtMs > FORGOTTEN_AFTER_MS,
    )
    for (const name of unused) this.#troubles.delete(name)
    return unused
  }

  /** The other side answered. @returns true when the address was in trouble */
  answered(address: Address): boolean {
    const wasWorking = this.isWorking(address)
    this.#troubles.delete(nameOf(address))
    return !wasWorking
  }
}

export function nameOf({ address, port }: Address): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function pauseMs(failures: number): number {
  return Math.min(PROBE_MS_MAX, PROBE_MS * 2 ** Math.max(0, failures - 1))
}
