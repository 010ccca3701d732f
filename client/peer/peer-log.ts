import type { Logger } from 'pino'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { ShoalError } from '../../core/errors.ts'

/** Lines about one address or node in a minute. Above it they are counted, and the next line tells how many were left out. */
export const PEER_LINES_PER_MINUTE_MAX = 240
/** Bound of the addresses and nodes whose lines are counted: the one that was heard of longest ago starts anew. */
export const PEER_LINES_SOURCES_MAX = 1024
/** In which the lines of one source are counted. */
const MINUTE_MS = 60_000

interface Lines {
  sinceMs: number
  written: number
  leftOut: number
}

/** Why connections with peers ended, so that nobody can fill the log by being refused again and again. */
export class PeerLog {
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #lines = new BoundedMap<string, Lines>(PEER_LINES_SOURCES_MAX)

  constructor(log: Logger, nowMs: () => number = Date.now) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /** @param source the address or node that the line counts for */
  tell(source: string, reason: ShoalError, facts: Record<string, unknown>, message: string): void {
    const leftOut = this.#admit(source)
    if (leftOut === undefined) return
    const level = LOUD.has(reason.code) ? 'warn' : 'info'
    const more = leftOut === 0 ? {} : { leftOut }
    this.#log[level]({ ...facts, code: reason.code, err: reason, ...more }, message)
  }

  /** @returns how many lines were left out before this one; undefined: leave it out too */
  #admit(source: string): number | undefined {
    const nowMs = this.#nowMs()
    const known = this.#lines.get(source)
    const isNew = known === undefined || nowMs - known.sinceMs >= MINUTE_MS
    const lines = isNew ? { sinceMs: nowMs, written: 0, leftOut: known?.leftOut ?? 0 } : known
    this.#lines.set(source, lines)
    if (lines.written >= PEER_LINES_PER_MINUTE_MAX) {
      lines.leftOut += 1
      return undefined
    }
    lines.written += 1
    const { leftOut } = lines
    lines.leftOut = 0
    return leftOut
  }
}

const LOUD: ReadonlySet<string> = new Set(['PEER_REFUSED', 'PIECE_CORRUPT'])
