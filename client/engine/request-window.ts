/** Outstanding bytes at one peer are its rate times this, so that the link never waits for a request. */
const WINDOW_MS = 50
/**
 * Holders serve piece by piece. With a smaller window a peer's turn ends after a few blocks, and it waits for the
 * next (four downloaders on one machine: 350 to 460 MiB/s, 130 to 350 with 256 KiB).
 */
export const WINDOW_BYTES_MIN = 1024 * 1024
/** One piece of the largest size. */
export const WINDOW_BYTES_MAX = 4 * 1024 * 1024
/** Weight of the newest sample of the rate. */
const SMOOTHING = 0.3
/** Shorter samples measure the event loop, not the link. */
const SAMPLE_MS_MIN = 20

/** How many bytes may be outstanding at one peer: its bandwidth-delay product, clamped. Clock passed in, in ms. */
export class RequestWindow {
  #rateBytesPerMs = 0
  #sampleBytes = 0
  #sampleStartMs: number

  constructor(nowMs: number) {
    this.#sampleStartMs = nowMs
  }

  received(bytes: number, nowMs: number): void {
    this.#sampleBytes += bytes
    const elapsedMs = nowMs - this.#sampleStartMs
    if (elapsedMs < SAMPLE_MS_MIN) return
    const rate = this.#sampleBytes / elapsedMs
    this.#rateBytesPerMs =
      this.#rateBytesPerMs === 0 ? rate : this.#rateBytesPerMs * (1 - SMOOTHING) + rate * SMOOTHING
    this.#sampleBytes = 0
    this.#sampleStartMs = nowMs
  }

  /** Call when requests go out after a pause, so that the pause does not count as slowness. */
  resume(nowMs: number): void {
    this.#sampleBytes = 0
    this.#sampleStartMs = nowMs
  }

  /** Time that these bytes take at the recent rate; 0 while that is unknown. */
  msFor(bytes: number): number {
    return this.#rateBytesPerMs === 0 ? 0 : bytes / this.#rateBytesPerMs
  }

  /** Bytes that arrive in this time at the recent rate; undefined while that is unknown. */
  bytesIn(ms: number): number | undefined {
    return this.#rateBytesPerMs === 0 ? undefined : this.#rateBytesPerMs * ms
  }

  get bytes(): number {
    return Math.min(WINDOW_BYTES_MAX, Math.max(WINDOW_BYTES_MIN, this.#rateBytesPerMs * WINDOW_MS))
  }
}
