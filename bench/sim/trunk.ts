/** Machines are in turn in one of these. */
export interface Zones {
  count: number
  /** What each sends to all others together. */
  bytesPerMs: number
  /** Whether the tracker knows them. */
  areKnown: boolean
}

/**
 * What a zone sends to the others, block by block. Shared by all its nodes: the narrow part between zones. A block waits
 * behind those that entered before it.
 */
export class Trunk {
  sentBytes = 0
  readonly #bytesPerMs: number
  #freeAtMs = 0

  constructor(bytesPerMs: number) {
    this.#bytesPerMs = bytesPerMs
  }

  /** @returns when the block has passed */
  pass(nowMs: number, bytes: number): number {
    this.sentBytes += bytes
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + bytes / this.#bytesPerMs
    return this.#freeAtMs
  }
}

/** The trunks of all zones; none where all nodes are in one place. */
export class Trunks {
  readonly #trunks: Trunk[]
  readonly #nodesPerMachine: number

  constructor(zones: Zones | undefined, nodesPerMachine: number) {
    const { count = 0, bytesPerMs = 0 } = zones ?? {}
    this.#trunks = Array.from({ length: count }, () => new Trunk(bytesPerMs))
    this.#nodesPerMachine = nodesPerMachine
  }

  get sentBytes(): number {
    return this.#trunks.reduce((sum, { sentBytes }) => sum + sentBytes, 0)
  }

  isNear(one: number, other: number): boolean {
    return this.#zoneOf(one) === this.#zoneOf(other)
  }

  /** Undefined within one zone. */
  between(from: number, to: number): Trunk | undefined {
    return this.isNear(from, to) ? undefined : this.#trunks[this.#zoneOf(from)]
  }

  #zoneOf(node: number): number {
    return Math.floor(node / this.#nodesPerMachine) % Math.max(1, this.#trunks.length)
  }
}
