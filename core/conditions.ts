import type { Logger } from 'pino'
import { BoundedMap } from './bounded-map.ts'
import { CONDITIONS, type ConditionText } from './condition-texts.ts'

/**
 * What keeps a node from sharing, or will soon. Every condition is one row of condition-texts.ts: log, health, status, metrics and
 * docs/errors.md take their words from it. A condition begins with `raise`, and ends with `clear` or when its time is over.
 */

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

/** Bound of subjects of one condition at one time; the oldest go first. No condition pushes out another. */
export const CONDITION_SUBJECTS_MAX = 256

interface Current extends Condition {
  /** When it ends by itself, on the clock of `Date.now()`. */
  untilMs: number
}

export class Conditions {
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #current = new Map<ConditionCode, BoundedMap<string, Current>>()

  constructor({ log, nowMs = Date.now }: { log: Logger; nowMs?: () => number }) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /**
   * It is so, or still so. Logged when it begins, and again when its `reason` is another.
   * @param untilMs when it ends, unless it is raised or cleared before; on the clock of `Date.now()`
   */
  raise(
    code: ConditionCode,
    subject = '',
    facts: Condition['facts'] = {},
    { untilMs = Number.POSITIVE_INFINITY }: { untilMs?: number } = {},
  ): void {
    this.#endDue()
    const ofCode = this.#current.get(code) ?? new BoundedMap(CONDITION_SUBJECTS_MAX)
    const known = ofCode.get(subject)
    const sinceMs = known?.sinceMs ?? this.#nowMs()
    const count = (known?.count ?? 0) + 1
    ofCode.set(subject, { code, subject, facts, sinceMs, count, untilMs })
    this.#current.set(code, ofCode)
    const isNews = facts.reason !== undefined && facts.reason !== known?.facts.reason
    if (known !== undefined && !isNews) return
    const { text, cost, remedy, severity }: ConditionText = CONDITIONS[code]
    const level = severity === 'error' ? 'error' : severity === 'warning' ? 'warn' : 'info'
    this.#log[level]({ code, ...(subject && { subject }), ...facts, cost, remedy }, text)
  }

  /** It is no longer so. */
  clear(code: ConditionCode, subject = ''): void {
    const ofCode = this.#current.get(code)
    if (!ofCode?.has(subject)) return
    ofCode.delete(subject)
    this.#log.info({ code, ...(subject && { subject }) }, `no longer: ${CONDITIONS[code].title}`)
  }

  /** All that are so now, the oldest first. */
  list(): Condition[] {
    this.#endDue()
    return this.#all()
      .map(({ untilMs, ...condition }) => condition)
      .sort((one, other) => one.sinceMs - other.sinceMs)
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
    this.#endDue()
    return this.#current.get(code)?.size ?? 0
  }

  /** `degraded`: something is not shared that should be. */
  health(): { status: 'ok' | 'degraded'; codes: ConditionCode[] } {
    const codes = [...new Set(this.list().map(({ code }) => code))].sort()
    const isDegraded = codes.some((code) => (CONDITIONS[code] as ConditionText).severity !== 'info')
    return { status: isDegraded ? 'degraded' : 'ok', codes }
  }

  /** No timer ends a condition: whoever looks sees none whose time is over. */
  #endDue(): void {
    const nowMs = this.#nowMs()
    for (const { code, subject, untilMs } of this.#all()) if (untilMs <= nowMs) this.clear(code, subject)
  }

  #all(): Current[] {
    return [...this.#current.values()].flatMap((ofCode) => [...ofCode.values()])
  }
}
