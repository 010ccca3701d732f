/** A map with a bound: above `#entriesMax` it drops the entries that were set longest ago. */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>()
  readonly #entriesMax: number

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key)
  }

  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  /** The oldest first. */
  keys(): IterableIterator<Key> {
    return this.#entries.keys()
  }

  /** The oldest first. */
  values(): IterableIterator<Value> {
    return this.#entries.values()
  }

  /** The oldest first. */
  entries(): IterableIterator<[Key, Value]> {
    return this.#entries.entries()
  }

  delete(key: Key): void {
    this.#entries.delete(key)
  }

  /** Sets the entry as the newest. */
  set(key: Key, value: Value): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#entriesMax) return
      this.#entries.delete(oldest)
    }
  }
}
