/** Time whose bytes may pass at once after a pause. */
const BURST_SECONDS = 0.1
/** Two large blocks: less would never let one pass whole. */
const BURST_BYTES_MIN = 256 * 1024
/** A taker that is told to wait has its turn reserved for this long after the wait: timers are late on a busy machine. */
const TURN_MS = 50
/** A taker that has not asked for this long is forgotten: what it left unused is nobody's. */
const TAKER_IDLE_MS = 1_000

interface Taker {
  /** Bytes that it took, counted from the least of those who were there when it came. */
  bytes: number
  askedAtMs: number
  /** It was told to wait, and its turn is reserved until then. */
  turnUntilMs: number
}

/**
 * A token bucket for bytes, fair between its takers: while several wait, the one that took least goes first. Clock passed
 * in, in ms. Pure.
 */
export class RateLimit {
  readonly #nowMs: () => number
  readonly #takers = new Map<object, Taker>()
  #bytesPerMs = 0
  #burstBytes = 0
  #leftBytes = 0
  #filledAtMs: number

  /** @param bytesPerSecond 0: no limit */
  constructor(bytesPerSecond: number, nowMs: () => number) {
    this.#nowMs = nowMs
    this.#filledAtMs = nowMs()
    this.change(bytesPerSecond)
  }

  /** From now on, also for those who wait: they ask again after the wait that they were told. */
  change(bytesPerSecond: number): void {
    this.#fill()
    const wasLimited = this.#bytesPerMs > 0
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#burstBytes = Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_SECONDS)
    this.#leftBytes = wasLimited ? Math.min(this.#leftBytes, this.#burstBytes) : this.#burstBytes
  }

  /** @returns 0 when bytes may pass now, else the ms to wait before asking again */
  waitMs(taker: object = this): number {
    if (this.#bytesPerMs === 0) return 0
    this.#fill()
    const nowMs = this.#filledAtMs
    const own = this.#takerOf(taker, nowMs)
    own.askedAtMs = nowMs
    const emptyMs = this.#leftBytes > 0 ? 0 : Math.ceil(-this.#leftBytes / this.#bytesPerMs) + 1
    const waitMs = emptyMs > 0 ? emptyMs : this.#othersTurnMs(own, nowMs)
    own.turnUntilMs = waitMs === 0 ? Number.NEGATIVE_INFINITY : nowMs + waitMs + TURN_MS
    return waitMs
  }

  /** Bytes pass. The last block may overdraw: it may be larger than the bucket. */
  spend(bytes: number, taker: object = this): void {
    if (this.#bytesPerMs === 0) return
    this.#leftBytes -= bytes
    this.#takerOf(taker, this.#nowMs()).bytes += bytes
  }

  /** Spends `bytes` if they may pass. @returns 0 when they did, else the ms to wait */
  take(bytes: number, taker: object = this): number {
    const waitMs = this.waitMs(taker)
    if (waitMs === 0) this.spend(bytes, taker)
    return waitMs
  }

  #fill(): void {
    const nowMs = this.#nowMs()
    const gained = (nowMs - this.#filledAtMs) * this.#bytesPerMs
    this.#leftBytes = Math.min(this.#burstBytes, this.#leftBytes + gained)
    this.#filledAtMs = nowMs
  }

  /** How long the taker lets those go first who wait and took less. */
  #othersTurnMs(own: Taker, nowMs: number): number {
    for (const other of this.#takers.values()) {
      if (other === own || other.bytes >= own.bytes || other.turnUntilMs < nowMs) continue
      return Math.max(1, Math.ceil(other.turnUntilMs - TURN_MS - nowMs) + 1)
    }
    return 0
  }

  #takerOf(taker: object, nowMs: number): Taker {
    const isGone = ({ askedAtMs, turnUntilMs }: Taker) =>
      nowMs - Math.max(askedAtMs, turnUntilMs) > TAKER_IDLE_MS
    const known = this.#takers.get(taker)
    if (known !== undefined && !isGone(known)) return known
    for (const [key, other] of this.#takers) if (isGone(other)) this.#takers.delete(key)
    const bytes = Math.min(...[...this.#takers.values()].map((other) => other.bytes))
    const added = {
      bytes: Number.isFinite(bytes) ? bytes : 0,
      askedAtMs: nowMs,
      turnUntilMs: Number.NEGATIVE_INFINITY,
    }
    this.#takers.set(taker, added)
    return added
  }
}
