/** How many listed nodes are in each zone. '' is no zone. */
export class ZoneCounts {
  readonly #nodes = new Map<string, number>()

  enter(zone: string): void {
    this.#nodes.set(zone, (this.#nodes.get(zone) ?? 0) + 1)
  }

  leave(zone: string): void {
    const left = (this.#nodes.get(zone) ?? 0) - 1
    if (left > 0) this.#nodes.set(zone, left)
    else this.#nodes.delete(zone)
  }

  /** Whether a node of the zone has others that are not of it. */
  isOneOfSeveral(zone: string): boolean {
    return zone !== '' && this.#nodes.size > 1
  }
}
