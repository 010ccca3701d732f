import { type Place, whoGivesWay } from '../engine/link-places.ts'
import type { SwarmLink } from '../peer/link-host.ts'

/** The accepted links of a swarm with their networks and last blocks: their claims to their places. */
export class AcceptedLinks {
  readonly #accepted = new WeakMap<SwarmLink, { network: string; receivedAtMs: number }>()

  add(link: SwarmLink, network: string): void {
    this.#accepted.set(link, { network, receivedAtMs: 0 })
  }

  /** A block arrived on the link. */
  received(link: SwarmLink): void {
    const known = this.#accepted.get(link)
    if (known) known.receivedAtMs = Date.now()
  }

  placeOf(link: SwarmLink, isOpening: boolean): Place {
    const { network, receivedAtMs = 0 } = this.#accepted.get(link) ?? {}
    const { movedAtMs = 0, queue = [] } = link.lane ?? {}
    const state = isOpening ? 'opening' : queue.length > 0 ? 'asking' : 'quiet'
    return { network, movedAtMs: Math.max(movedAtMs, receivedAtMs), state }
  }

  /** Call with all places taken. @returns the link that gives its place to a newcomer from this network */
  whoGivesWay(links: readonly SwarmLink[], opening: ReadonlySet<SwarmLink>, network: string) {
    const placeOf = (link: SwarmLink) => this.placeOf(link, opening.has(link))
    return whoGivesWay(links, { placeOf, network, nowMs: Date.now() })
  }
}
