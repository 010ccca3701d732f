/** A block from the page cache takes some 20 µs; one from a disk, milliseconds. */
const COLD_READ_MS = 1.5
/** One read that took long may have waited for a busy processor; so many in a row have waited for a disk. */
const SLOW_READS_MAX = 2
/** How many reads go through the thread pool after those: 4 MiB of large blocks. */
const COLD_READS = 32

/**
 * Where a blob's next read is done. What is in the page cache is read at once: a hand-over to another thread and back
 * costs more than the copy. Reads that took long say that the data is cold; then the next ones go through the thread
 * pool, so that a slow disk does not stall the event loop. Pure.
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

  /** A read on the event loop took so long. */
  took(ms: number): void {
    this.#slow = ms > COLD_READ_MS ? this.#slow + 1 : 0
    if (this.#slow < SLOW_READS_MAX) return
    this.#left = COLD_READS
    // After those one slow read is enough to know that it is still so.
    this.#slow = SLOW_READS_MAX - 1
  }
}
