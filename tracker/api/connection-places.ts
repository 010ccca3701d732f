/** The holder of a place, and its network (core/network.ts). */
export interface Visitor {
  readonly network: string
}

/**
 * A fixed number of places from which nobody can exclude others. When all are taken, a newcomer displaces the holder worth
 * least in the network with most places. So one network alone may have all of them, and two with the same demand get
 * half each.
 */
export class ConnectionPlaces<Holder extends Visitor> {
  readonly #placesMax: number
  readonly #leastOf: (holders: ReadonlySet<Holder>) => Holder | undefined
  readonly #byNetwork = new Map<string, Set<Holder>>()
  #taken = 0

  /** @param leastOf picks the least worth of one network's holders, given in the order of arrival */
  constructor(placesMax: number, leastOf: (holders: ReadonlySet<Holder>) => Holder | undefined) {
    this.#placesMax = placesMax
    this.#leastOf = leastOf
  }

  get taken(): number {
    return this.#taken
  }

  /** @returns the displaced holder */
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

/** The first to arrive, for holders that are all worth the same. */
export function oldestOf<T>(holders: Iterable<T>): T | undefined {
  for (const oldest of holders) return oldest
  return undefined
}

/** The first element with the least `worthOf`. */
export function leastOf<T>(all: Iterable<T>, worthOf: (one: T) => number): T | undefined {
  let least: { one: T; worth: number } | undefined
  for (const one of all) {
    const worth = worthOf(one)
    if (least === undefined || worth < least.worth) least = { one, worth }
  }
  return least?.one
}
