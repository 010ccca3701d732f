/** What has a place, and the network that it comes from (core/network.ts). */
export interface Visitor {
  readonly network: string
}

/**
 * A number of places of which nobody can keep others out: when all are taken, the newcomer gets that of whoever is worth
 * least, of the network that has most. So a network alone may have all of them, and two that ask for as many have half
 * each.
 */
export class ConnectionPlaces<Holder extends Visitor> {
  readonly #placesMax: number
  readonly #leastOf: (holders: ReadonlySet<Holder>) => Holder | undefined
  readonly #byNetwork = new Map<string, Set<Holder>>()
  #taken = 0

  /** @param leastOf of those of one network, in the order in which they came */
  constructor(placesMax: number, leastOf: (holders: ReadonlySet<Holder>) => Holder | undefined) {
    this.#placesMax = placesMax
    this.#leastOf = leastOf
  }

  get taken(): number {
    return this.#taken
  }

  /** @returns who had to leave for it */
  take(newcomer: Holder): Holder | undefined {
    const least = this.#taken < this.#placesMax ? undefined : this.#least()
    if (least !== undefined) this.leave(least)
    const network = this.#byNetwork.get(newcomer.network) ?? new Set()
    this.#byNetwork.set(newcomer.network, network.add(newcomer))
    this.#taken += 1
    return least
  }

  leave(holder: Holder): void {
    const network = this.#byNetwork.get(holder.network)
    if (network?.delete(holder) !== true) return
    this.#taken -= 1
    if (network.size === 0) this.#byNetwork.delete(holder.network)
  }

  #least(): Holder | undefined {
    let largest: ReadonlySet<Holder> = new Set()
    for (const network of this.#byNetwork.values()) if (network.size > largest.size) largest = network
    return this.#leastOf(largest)
  }
}

/** Of holders that are all worth the same: the one that came first. */
export function oldestOf<T>(holders: Iterable<T>): T | undefined {
  for (const oldest of holders) return oldest
  return undefined
}

/** The first of those for which `worthOf` is least. */
export function leastOf<T>(all: Iterable<T>, worthOf: (one: T) => number): T | undefined {
  let least: { one: T; worth: number } | undefined
  for (const one of all) {
    const worth = worthOf(one)
    if (least === undefined || worth < least.worth) least = { one, worth }
  }
  return least?.one
}
