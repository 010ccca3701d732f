/** What a bucket gains per second, and what it holds. */
export interface BucketBounds {
  perSecond: number
  burst: number
}

/** A rate with bursts: begins full, gains with time, and gives what it has. The clock is passed in. */
export class TokenBucket {
  readonly #bounds: BucketBounds
  #tokens: number
  #filledAtMs: number

  constructor(bounds: BucketBounds, nowMs: number) {
    this.#bounds = bounds
    this.#tokens = bounds.burst
    this.#filledAtMs = nowMs
  }

  /** What is asked for beyond a whole bucket counts as a whole bucket. @returns false, and nothing is taken, with too little in it */
  take(nowMs: number, tokens = 1): boolean {
    const { perSecond, burst } = this.#bounds
    // A clock that was set back gains nobody anything, and takes nothing away.
    const gained = (Math.max(0, nowMs - this.#filledAtMs) / 1000) * perSecond
    this.#tokens = Math.min(burst, this.#tokens + gained)
    this.#filledAtMs = nowMs
    if (this.#tokens < Math.min(tokens, burst)) return false
    this.#tokens = Math.max(0, this.#tokens - tokens)
    return true
  }

  /** What was taken for nothing. */
  giveBack(tokens = 1): void {
    this.#tokens = Math.min(this.#bounds.burst, this.#tokens + tokens)
  }

  /** Seconds until `take` succeeds, from the last `take` on, at least one. */
  secondsUntil(tokens = 1): number {
    const missing = Math.min(tokens, this.#bounds.burst) - this.#tokens
    return Math.max(1, Math.ceil(missing / this.#bounds.perSecond))
  }
}
