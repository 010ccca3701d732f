/** Time whose bytes may pass at once after a pause. */
const BURST_SECONDS = 0.1
/** Two large blocks: less would never let one pass whole. */
const BURST_BYTES_MIN = 256 * 1024

/** A token bucket for bytes. Clock passed in, in ms. Pure. */
export class RateLimit {
  readonly #bytesPerMs: number
  readonly #burstBytes: number
  readonly #nowMs: () => number
  #leftBytes: number
  #filledAtMs: number

  /** @param bytesPerSecond 0: no limit */
  constructor(bytesPerSecond: number, nowMs: () => number) {
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#burstBytes = Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_SECONDS)
    this.#nowMs = nowMs
    this.#leftBytes = this.#burstBytes
    this.#filledAtMs = nowMs()
  }

  /** @returns 0 when bytes may pass now, else the ms to wait before asking again */
  waitMs(): number {
    if (this.#bytesPerMs === 0) return 0
    const now = this.#nowMs()
    this.#leftBytes = Math.min(
      this.#burstBytes,
      this.#leftBytes + (now - this.#filledAtMs) * this.#bytesPerMs,
    )
    this.#filledAtMs = now
    return this.#leftBytes > 0 ? 0 : Math.ceil(-this.#leftBytes / this.#bytesPerMs) + 1
  }

  /** Bytes pass. The last block may overdraw: it may be larger than the bucket. */
  spend(bytes: number): void {
    this.#leftBytes -= bytes
  }

  /** Spends `bytes` if they may pass. @returns 0 when they did, else the ms to wait */
  take(bytes: number): number {
    const waitMs = this.waitMs()
    if (waitMs === 0) this.spend(bytes)
    return waitMs
  }
}
