/** Times of future events, each with a number. An event is in the heap at most once and may be moved. */
export class EventHeap {
  readonly #times: Float64Array
  readonly #heap: Int32Array
  /** Where in the heap an event is; -1 when it is not. */
  readonly #places: Int32Array
  #size = 0
  /** Time of the event that `next` returned. */
  atMs = 0

  /** @param eventsMax events are numbered [0, eventsMax) */
  constructor(eventsMax: number) {
    this.#times = new Float64Array(eventsMax)
    this.#heap = new Int32Array(eventsMax)
    this.#places = new Int32Array(eventsMax).fill(-1)
  }

  /** Puts the event in, or moves it. */
  set(event: number, atMs: number): void {
    this.#times[event] = atMs
    let place = this.#places[event]!
    if (place < 0) {
      place = this.#size
      this.#size += 1
      this.#put(event, place)
    }
    this.#sink(this.#rise(place))
  }

  delete(event: number): void {
    const place = this.#places[event]!
    if (place < 0) return
    this.#places[event] = -1
    this.#size -= 1
    if (place === this.#size) return
    this.#put(this.#heap[this.#size]!, place)
    this.#sink(this.#rise(place))
  }

  /** Removes the first event; -1 when there is none. Its time is in `atMs`. */
  next(): number {
    if (this.#size === 0) return -1
    const event = this.#heap[0]!
    this.atMs = this.#times[event]!
    this.delete(event)
    return event
  }

  #put(event: number, place: number): void {
    this.#heap[place] = event
    this.#places[event] = place
  }

  #rise(from: number): number {
    const event = this.#heap[from]!
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (this.#times[this.#heap[parent]!]! <= this.#times[event]!) break
      this.#put(this.#heap[parent]!, place)
      place = parent
    }
    this.#put(event, place)
    return place
  }

  #sink(from: number): void {
    const event = this.#heap[from]!
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#times[this.#heap[child + 1]!]! < this.#times[this.#heap[child]!]!)
        child += 1
      if (this.#times[this.#heap[child]!]! >= this.#times[event]!) break
      this.#put(this.#heap[child]!, place)
      place = child
    }
    this.#put(event, place)
  }
}
