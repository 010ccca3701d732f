import type { CommandOptions, LabProcesses } from './processes.ts'

const READY = 'ready\n'
/** Says that it is there, waits for a line, and becomes the command. */
const WAIT = `printf '${READY.trim()}\\n' && read -r _ && exec "$@"`

/**
 * Commands that are started one by one, wait, and go on at the same instant, when as many are there as are expected:
 * what starting them takes is in nobody's time.
 */
export class StartingLine {
  /** What stands before the waiting command in its command line. */
  readonly waiting = ['sh', '-c', WAIT, 'sh']
  #expected = Number.POSITIVE_INFINITY
  #arrived = 0
  #shot = Promise.withResolvers<string>()
  #startedMs = 0

  /** Before `run`: how many commands the next start is for. */
  expect(count: number): void {
    this.#expected = count
    this.#arrived = 0
    this.#shot = Promise.withResolvers()
  }

  /** When the last start was (performance.now). */
  get startedMs(): number {
    return this.#startedMs
  }

  async run(processes: LabProcesses, command: CommandOptions): Promise<void> {
    await processes.run({
      ...command,
      input: this.#shot.promise,
      onOutput: (chunk) => {
        if (chunk.toString().startsWith(READY)) this.#arrive()
      },
    })
  }

  #arrive(): void {
    this.#arrived++
    if (this.#arrived !== this.#expected) return
    this.#startedMs = performance.now()
    this.#shot.resolve('go\n')
  }
}
