import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import { replaceFile } from '../core/data-folder.ts'
import type { Pausing } from '../proxy/pause.ts'
import { PauseError } from './errors.ts'

/**
 * Whether this node stands aside: it tunnels new connections and passes on what is asked in those that it has. An operator
 * says so with a file in the data folder (`shoal pause`), the tracker with each heartbeat. Both outlive a restart.
 */

export const PAUSED_FILE = 'paused'
/** There while the tracker's pause lasts, for a start without the tracker. */
const PAUSED_BY_TRACKER_FILE = 'paused-by-tracker'
/** How often the node looks for the operator's file. */
export const PAUSE_LOOK_MS = 500

type Who = 'operator' | 'tracker'
const CONDITION = { operator: 'PAUSED', tracker: 'PAUSED_BY_TRACKER' } as const

export interface PauseOptions {
  dataDir: string
  conditions: Conditions
  log: Logger
}

export class Pause implements Pausing {
  readonly #options: PauseOptions
  readonly #begins: (() => void)[] = []
  readonly #timer: NodeJS.Timeout
  readonly #isPausedBy: Record<Who, boolean> = { operator: false, tracker: false }

  constructor(options: PauseOptions) {
    this.#options = options
    this.#become('tracker', this.#isThere(PAUSED_BY_TRACKER_FILE, false))
    this.#look()
    this.#timer = setInterval(() => this.#look(), PAUSE_LOOK_MS).unref()
  }

  get isPaused(): boolean {
    return this.#isPausedBy.operator || this.#isPausedBy.tracker
  }

  whenPaused(begin: () => void): void {
    this.#begins.push(begin)
  }

  /** The tracker's word, with each heartbeat. */
  trackerSays(isPaused: boolean): void {
    if (isPaused === this.#isPausedBy.tracker) return
    const path = join(this.#options.dataDir, PAUSED_BY_TRACKER_FILE)
    this.#become('tracker', isPaused)
    try {
      if (isPaused) replaceFile(path, '')
      else rmSync(path, { force: true })
    } catch (error) {
      this.#options.log.warn({ err: error, path }, 'a restart without the tracker will forget its pause')
    }
  }

  /**
   * The operator's word, over the local API. The file is what counts, also at the next start.
   * @throws PauseError if it cannot be written
   */
  operatorSays(isPaused: boolean): void {
    const path = join(this.#options.dataDir, PAUSED_FILE)
    try {
      if (isPaused) replaceFile(path, '')
      else rmSync(path, { force: true })
    } catch (cause) {
      throw new PauseError(`cannot change ${path}: ${(cause as Error).message}`, { cause })
    }
    this.#become('operator', isPaused)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    this.#become('operator', this.#isThere(PAUSED_FILE, this.#isPausedBy.operator))
  }

  #become(who: Who, isPaused: boolean): void {
    if (this.#isPausedBy[who] === isPaused) return
    const wasPaused = this.isPaused
    this.#isPausedBy[who] = isPaused
    if (isPaused) this.#options.conditions.raise(CONDITION[who])
    else this.#options.conditions.clear(CONDITION[who])
    if (isPaused && !wasPaused) for (const begin of this.#begins) begin()
  }

  /** @param before the answer while the folder cannot be read */
  #isThere(name: string, before: boolean): boolean {
    try {
      return statSync(join(this.#options.dataDir, name), { throwIfNoEntry: false }) !== undefined
    } catch {
      return before
    }
  }
}
