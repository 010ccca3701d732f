import { type Place, whoGivesWay } from '../engine/link-places.ts'
import type { PeerLink } from '../peer/peer-link.ts'

/** The accepted links of a swarm with their networks and last blocks: their claims to their places. */
export class AcceptedLinks {
  readonly #accepted = new WeakMap<PeerLink, { network: string; receivedAtMs: number }>()

  add(link: PeerLink, network: string): void {
    this.#accepted.set(link, { network, receivedAtMs: 0 })
  }

  /** A block arrived on the link. */
  received(link: PeerLink): void {
    const known = this.#accepted.get(link)
    if (known) known.receivedAtMs = Date.now()
  }

  placeOf(link: PeerLink, isOpening: boolean): Place {
    const { network, receivedAtMs = 0 } = this.#accepted.get(link) ?? {}
    const { movedAtMs, queue } = link.lane
    const state = isOpening ? 'opening' : queue.length > 0 ? 'asking' : 'quiet'
    return { network, movedAtMs: Math.max(movedAtMs, receivedAtMs), state }
  }

  /** Call with all places taken. @returns the link that gives its place to a newcomer from this network */
  whoGivesWay(links: readonly PeerLink[], opening: ReadonlySet<PeerLink>, network: string) {
    const placeOf = (link: PeerLink) => this.placeOf(link, opening.has(link))
    return whoGivesWay(links, { placeOf, network, nowMs: Date.now() })
  }
}
