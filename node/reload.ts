import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { NodeConfig } from './config.ts'
import { IS_LIVE } from './live-settings.ts'

/** What came of reading the settings again; names of settings. */
export interface Reloaded {
  /** They count now. */
  changed: string[]
  /** They are other than those that the node runs with, and count after a restart. */
  needsRestart: string[]
}

export interface ReloadParts {
  /** What the node runs with. */
  running: NodeConfig
  /** Reads all settings as at the start. @throws ConfigError */
  reread(): NodeConfig
  /**
   * Makes ready what these settings need. @returns what makes them count
   * @throws ShoalError for whatever cannot be used; nothing is changed then
   */
  prepare(before: NodeConfig, after: NodeConfig): Promise<() => Promise<void>>
  log: Logger
}

/** For pages that are up before the node has started: both wait until it has. */
export interface Reloading {
  reload(): Promise<Reloaded>
  /** With what was attached and reloaded since the start. */
  running(): Promise<NodeConfig>
}

/** Takes over changed settings while the node runs. Settings that cannot be used change nothing. */
export class Reload {
  readonly #parts: ReloadParts
  #running: NodeConfig
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: ReloadParts) {
    this.#parts = parts
    this.#running = parts.running
  }

  /** The settings of now. */
  get running(): NodeConfig {
    return this.#running
  }

  /** One after the other. @throws ConfigError and other ShoalErrors of the settings; logged too */
  reload(): Promise<Reloaded> {
    const reloading = this.#last.then(() => this.#reload())
    this.#last = reloading.catch((err: unknown) =>
      this.#parts.log.error({ err }, 'the settings stay as they are'),
    )
    return reloading
  }

  async #reload(): Promise<Reloaded> {
    const wanted = this.#parts.reread()
    const before = this.#running
    const keys = Object.keys(IS_LIVE) as (keyof NodeConfig)[]
    const differing = keys.filter((key) => !isDeepStrictEqual(before[key], wanted[key]))
    const changed = differing.filter((key) => IS_LIVE[key])
    const needsRestart = differing.filter((key) => !IS_LIVE[key])
    const live = Object.fromEntries(changed.map((key) => [key, wanted[key]]))
    const after: NodeConfig = { ...before, ...live }
    const commit = await this.#parts.prepare(before, after)
    await commit()
    this.#running = after
    this.#parts.log.info({ changed, needsRestart }, 'the settings were read again')
    return { changed, needsRestart }
  }
}
