/** A slow read. A block from the page cache takes about 20 µs; one from a disk, milliseconds. */
const COLD_READ_MS = 1.5
/** Slow reads in a row that mean a disk. A single one may have waited for a busy processor. */
const SLOW_READS_MAX = 2
/** Reads through the thread pool after those: 4 MiB of large blocks. */
const COLD_READS = 32

/**
 * Decides where a blob's next read runs. Data in the page cache is read at once: passing it between threads costs
 * more than the copy. Slow reads mean that the data is cold; the next ones use the thread pool, so that a slow disk
 * does not stall the event loop. Pure.
 */
export class ColdReads {
  #slow = 0
  #left = 0

  /** A read begins. @returns true when it goes through the thread pool */
  take(): boolean {
    if (this.#left === 0) return false
    this.#left -= 1
    return true
  }

  /** A read on the event loop took `ms`. */
  took(ms: number): void {
    this.#slow = ms > COLD_READ_MS ? this.#slow + 1 : 0
    if (this.#slow < SLOW_READS_MAX) return
    this.#left = COLD_READS
    // From now on one slow read is enough to see that the data is still cold.
    this.#slow = SLOW_READS_MAX - 1
  }
}
