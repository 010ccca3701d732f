import type { CommandOptions, LabProcesses } from './processes.ts'

const READY = 'ready\n'
/** Reports that it is ready, waits for a line, and becomes the command. */
const WAIT = `printf '${READY.trim()}\\n' && read -r _ && exec "$@"`

/**
 * Starts commands one by one, lets them wait, and releases all of them at the same instant, when the expected number
 * is ready. Their start-up does not count as part of their time.
 */
export class StartingLine {
  /** Prefix of the waiting command's command line. */
  readonly waiting = ['sh', '-c', WAIT, 'sh']
  #expected = Number.POSITIVE_INFINITY
  #arrived = 0
  #shot = Promise.withResolvers<string>()
  #startedMs = 0

  /** Call before `run`: the number of commands of the next start. */
  expect(count: number): void {
    this.#expected = count
    this.#arrived = 0
    this.#shot = Promise.withResolvers()
  }

  /** Time of the last start (performance.now). */
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
