import type { Logger } from 'pino'
import { BoundedMap } from './bounded-map.ts'

/**
 * What keeps a node from sharing, or will soon. Every condition is one row here: log, health, status, metrics and
 * docs/errors.md take their words from it. A condition begins with `raise`, ends with `clear`, and is logged once each.
 */

export interface ConditionText {
  /** A few words, for a table. */
  title: string
  /** `info`: as configured, but worth knowing. `warning`: something is not shared. `error`: nothing is shared. */
  severity: 'info' | 'warning' | 'error'
  /** What is so. One sentence. */
  text: string
  /** What it costs those who pull. */
  cost: string
  /** What to do; names the setting or the command. */
  remedy: string
}

export const CONDITIONS = {
  NO_REGISTRIES: {
    title: 'no registry is configured',
    severity: 'error',
    text: 'This node has no registry to share.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy: 'Name the registries with --registries.',
  },
  REGISTRY_RATE_LIMITED: {
    title: 'the registry limits requests',
    severity: 'warning',
    text: 'The registry answered 429: it has had too many requests of this address or user.',
    cost: 'Until its time is over this node asks it for nothing of its own; Docker’s own requests pass through.',
    remedy:
      'Raise the limit at the registry, or let the pulling user log in with an account that has a higher one.',
  },
} as const satisfies Record<string, ConditionText>

export type ConditionCode = keyof typeof CONDITIONS

export interface Condition {
  code: ConditionCode
  /** What it is about, for example a registry's host or a peer's address; '' for the node as a whole. */
  subject: string
  /** Short values that complete the text. Never a credential. */
  facts: Record<string, string | number | boolean>
  /** When it began, on the clock of `Date.now()`. */
  sinceMs: number
  /** How often it was raised since. */
  count: number
}

/** Bound of conditions at one time; the oldest go first. */
export const CONDITIONS_MAX = 256

export class Conditions {
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #current = new BoundedMap<string, Condition>(CONDITIONS_MAX)

  constructor({ log, nowMs = Date.now }: { log: Logger; nowMs?: () => number }) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /** It is so, or still so. */
  raise(code: ConditionCode, subject = '', facts: Condition['facts'] = {}): void {
    const key = `${code} ${subject}`
    const known = this.#current.get(key)
    this.#current.set(key, {
      code,
      subject,
      facts,
      sinceMs: known?.sinceMs ?? this.#nowMs(),
      count: (known?.count ?? 0) + 1,
    })
    if (known !== undefined) return
    const { text, cost, remedy, severity } = CONDITIONS[code]
    const level = severity === 'error' ? 'error' : severity === 'warning' ? 'warn' : 'info'
    this.#log[level]({ code, ...(subject && { subject }), ...facts, cost, remedy }, text)
  }

  /** It is no longer so. */
  clear(code: ConditionCode, subject = ''): void {
    const key = `${code} ${subject}`
    if (this.#current.get(key) === undefined) return
    this.#current.delete(key)
    this.#log.info({ code, ...(subject && { subject }) }, `no longer: ${CONDITIONS[code].title}`)
  }

  /** All that are so now, the oldest first. */
  list(): Condition[] {
    return [...this.#current.values()].sort((one, other) => one.sinceMs - other.sinceMs)
  }
}
