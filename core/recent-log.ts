/** Bound of the lines of a log that a program keeps in memory, in bytes. */
export const RECENT_LOG_BYTES_MAX = 256 * 1024

/** The newest lines of a log, for `shoal bugreport`: nobody else may keep what goes to standard error. */
export class RecentLog {
  readonly #lines: string[] = []
  #bytes = 0

  add(line: string): void {
    this.#lines.push(line)
    this.#bytes += Buffer.byteLength(line)
    while (this.#bytes > RECENT_LOG_BYTES_MAX) this.#bytes -= Buffer.byteLength(this.#lines.shift() ?? '')
  }

  text(): string {
    return this.#lines.join('')
  }
}
