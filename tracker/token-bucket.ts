/** A bucket's refill rate per second, and its size. */
export interface BucketBounds {
  perSecond: number
  burst: number
}

/** A rate limit with bursts. The bucket starts full and refills with time. The clock is passed in. */
export class TokenBucket {
  readonly #bounds: BucketBounds
  #tokens: number
  #filledAtMs: number

  constructor(bounds: BucketBounds, nowMs: number) {
    this.#bounds = bounds
    this.#tokens = bounds.burst
    this.#filledAtMs = nowMs
  }

  /** Asking for more than a whole bucket counts as a whole bucket. @returns false, and takes nothing, if too little is left */
  take(nowMs: number, tokens = 1): boolean {
    const { perSecond, burst } = this.#bounds
    // If the clock was set back, the bucket neither gains nor loses.
    const gained = (Math.max(0, nowMs - this.#filledAtMs) / 1000) * perSecond
    this.#tokens = Math.min(burst, this.#tokens + gained)
    this.#filledAtMs = nowMs
    if (this.#tokens < Math.min(tokens, burst)) return false
    this.#tokens = Math.max(0, this.#tokens - tokens)
    return true
  }

  /** Returns tokens that were not needed. */
  giveBack(tokens = 1): void {
    this.#tokens = Math.min(this.#bounds.burst, this.#tokens + tokens)
  }

  /** Seconds from the last `take` until `take` succeeds; at least one. */
  secondsUntil(tokens = 1): number {
    const missing = Math.min(tokens, this.#bounds.burst) - this.#tokens
    return Math.max(1, Math.ceil(missing / this.#bounds.perSecond))
  }
}
