/**
 * A write of one block on the event loop that takes longer is slow. Into the page cache it takes about 30 µs; a disk that cannot
 * keep up holds the writer for up to 200 ms (Linux throttles whoever dirties pages), and a failing one for seconds.
 */
export const SLOW_WRITE_MS = 20
/** Writes in a row that must be quick before they return to the event loop: 32 MiB of whole blocks. */
export const QUICK_WRITES_MIN = 256

/**
 * Decides where a node's next write of a block runs. A slow disk may hold up the event loop, and with it every pull of
 * the node, once; then writes run in the verifying thread until the disk has been quick for a while. Pure.
 */
export class SlowWrites {
  #quickDue = 0

  /** The next write leaves the event loop. */
  get isSlow(): boolean {
    return this.#quickDue > 0
  }

  /** A write took `ms`, on the event loop or off it. */
  took(ms: number): void {
    if (ms > SLOW_WRITE_MS) this.#quickDue = QUICK_WRITES_MIN
    else if (this.#quickDue > 0) this.#quickDue -= 1
  }
}
