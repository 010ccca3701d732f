/** The current rate is a mean over at least this time. */
const MEAN_MS_MIN = 300
/** And over at least this many blocks, however long they take. */
const MEAN_BLOCKS_MIN = 4
/**
 * The best rate is taken over windows of this length: in shorter ones, bytes that waited in the kernel arrive at
 * once.
 */
const BEST_WINDOW_MS = 1_000
/** Share of the best rate that is kept from window to window: links become slower, too. */
const BEST_KEPT_SHARE = 0.98
/** A link is full while at least this share of the best rate arrives. */
const FULL_SHARE = 1 / 2

/** Tells from the incoming rate whether the link is full. Pure: the clock is passed in, in ms. */
export class LinkRate {
  #bestBytesPerMs = 0
  #windowBytes = 0
  #windowSinceMs: number
  #meanBytesPerMs = 0
  #meanMs = MEAN_MS_MIN
  #receivedAtMs: number

  constructor(nowMs: number) {
    this.#windowSinceMs = nowMs
    this.#receivedAtMs = nowMs
  }

  /** Call before the first request after a pause: a pause says nothing about the link. */
  resume(nowMs: number): void {
    if (nowMs - this.#receivedAtMs < BEST_WINDOW_MS) return
    this.#windowBytes = 0
    this.#windowSinceMs = nowMs
  }

  received(bytes: number, nowMs: number): void {
    this.#windowBytes += bytes
    const elapsedMs = nowMs - this.#windowSinceMs
    if (elapsedMs >= BEST_WINDOW_MS) {
      this.#bestBytesPerMs = Math.max(this.#bestBytesPerMs * BEST_KEPT_SHARE, this.#windowBytes / elapsedMs)
      this.#windowBytes = 0
      this.#windowSinceMs = nowMs
      this.#meanMs = Math.max(MEAN_MS_MIN, (MEAN_BLOCKS_MIN * bytes) / this.#bestBytesPerMs)
    }
    this.#meanBytesPerMs = this.#meanAt(nowMs) + bytes / this.#meanMs
    this.#receivedAtMs = nowMs
  }

  /** The rate is close to the best one. False also while that is unknown. */
  isFull(nowMs: number): boolean {
    return this.#bestBytesPerMs > 0 && this.#meanAt(nowMs) >= FULL_SHARE * this.#bestBytesPerMs
  }

  #meanAt(nowMs: number): number {
    return this.#meanBytesPerMs * Math.exp(-(nowMs - this.#receivedAtMs) / this.#meanMs)
  }
}
