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
  CACHE_FULL: {
    title: 'the cache is too small',
    severity: 'warning',
    text: 'A blob did not fit into the cache: it is larger than cacheBytesMax, or blobs in use fill the cache.',
    cost: 'Blobs that do not fit come from the registry and are not shared.',
    remedy: 'Raise cacheBytesMax (--cache-bytes-max).',
  },
  DISK_LOW: {
    title: 'the disk is nearly full',
    severity: 'warning',
    text: 'A blob did not fit on the disk of the data folder, where Shoal leaves 256 MiB free for others.',
    cost: 'New blobs come from the registry and are not shared. What is held is still served.',
    remedy: 'Make room on the disk of dataDir, or move the folder (--data-dir).',
  },
  NOT_JOINED: {
    title: 'not joined to a cluster',
    severity: 'error',
    text: 'This node has not joined its cluster, or its membership has ended.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy:
      'The reason says what is wrong. Check --tracker-url and --tracker-ca-file, that the tracker runs, and the join token (--join-token-file); `shoal admin token rotate` makes a new one.',
  },
  NO_REGISTRIES: {
    title: 'no registry is configured',
    severity: 'error',
    text: 'This node has no registry to share.',
    cost: 'Every pull comes from its registry, as without Shoal.',
    remedy: 'Name the registries with --registries.',
  },
} as const satisfies Record<string, ConditionText>

export type ConditionCode = keyof typeof CONDITIONS
export const CONDITION_CODES = Object.keys(CONDITIONS).sort() as ConditionCode[]

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

/** A condition with its words, as pages show it. */
export interface ShownCondition extends ConditionText, Omit<Condition, 'sinceMs'> {
  /** ISO 8601. */
  since: string
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
    const { text, cost, remedy, severity }: ConditionText = CONDITIONS[code]
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

  /** All that are so now with their words, the oldest first. */
  shown(): ShownCondition[] {
    return this.list().map(({ sinceMs, ...condition }) => ({
      ...condition,
      ...CONDITIONS[condition.code],
      since: new Date(sinceMs).toISOString(),
    }))
  }

  /** How many subjects a condition has now. */
  count(code: ConditionCode): number {
    return this.list().filter((condition) => condition.code === code).length
  }

  /** `degraded`: something is not shared that should be. */
  health(): { status: 'ok' | 'degraded'; codes: ConditionCode[] } {
    const codes = [...new Set(this.list().map(({ code }) => code))].sort()
    const isDegraded = codes.some((code) => (CONDITIONS[code] as ConditionText).severity !== 'info')
    return { status: isDegraded ? 'degraded' : 'ok', codes }
  }
}
