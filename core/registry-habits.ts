import { BoundedMap } from './bounded-map.ts'
import type { ConditionCode, Conditions } from './conditions.ts'
import type { RegistryHost } from './repository.ts'

/**
 * What one registry does differently from most, as its answers showed. A habit is remembered, so that no later layer pays
 * for it again, and forgotten after a while, so that a registry that was mended is asked in the ordinary way again.
 */
export type Habit =
  /** HEAD of a blob is refused although GET works, tells another length than GET, or is late where GET is quick. */
  | 'headUnreliable'
  /** HEAD is refused only where GET is refused too. */
  | 'headHonest'
  /** No answer about a blob came within the patience of a pull. */
  | 'late'
  /** A range is answered with the whole blob or with a refusal. */
  | 'noRanges'
  /** Blobs are redirected to where Shoal does not follow. */
  | 'redirectRefused'

/** How long a habit is remembered. */
export const HABIT_MS = 10 * 60_000
/** Bound of remembered habits of one registry: two for each repository in use. */
export const HABITS_MAX = 1024
/** How long a late registry is not waited for, unless it answers in time before. */
export const LATE_MEMORY_MS = 60_000

const CONDITION_OF: Partial<Record<Habit, ConditionCode>> = {
  headUnreliable: 'REGISTRY_HEAD_REFUSED',
  late: 'REGISTRY_LATE',
  noRanges: 'REGISTRY_NO_RANGES',
  redirectRefused: 'REGISTRY_REDIRECT_REFUSED',
}

export class RegistryHabits {
  readonly #host: RegistryHost
  readonly #nowMs: () => number
  readonly #known = new BoundedMap<string, { habit: Habit; untilMs: number }>(HABITS_MAX)
  readonly #watchers = new Set<() => void>()
  #conditions: Conditions | undefined

  constructor(host: RegistryHost, nowMs: () => number = Date.now) {
    this.#host = host
    this.#nowMs = nowMs
  }

  /** Shows habits to the operator from now on. */
  reportTo(conditions: Conditions): void {
    this.#conditions = conditions
    for (const habit of Object.keys(CONDITION_OF) as Habit[]) this.#report(habit)
  }

  /** @param of the repository that it was seen at, for habits that a repository's owner could feign */
  has(habit: Habit, of = ''): boolean {
    return (this.#known.get(`${habit} ${of}`)?.untilMs ?? 0) > this.#nowMs()
  }

  note(habit: Habit, of = ''): void {
    const lastsMs = habit === 'late' ? LATE_MEMORY_MS : HABIT_MS
    this.#known.set(`${habit} ${of}`, { habit, untilMs: this.#nowMs() + lastsMs })
    this.#report(habit)
    for (const onNoted of this.#watchers) onNoted()
  }

  /** Calls back whenever a habit was noted. @returns what ends that */
  watch(onNoted: () => void): () => void {
    this.#watchers.add(onNoted)
    return () => this.#watchers.delete(onNoted)
  }

  /** The registry did it in the ordinary way. */
  forget(habit: Habit, of = ''): void {
    if (!this.#known.has(`${habit} ${of}`)) return
    this.#known.delete(`${habit} ${of}`)
    this.#report(habit)
  }

  /** The condition lasts as long as some repository shows the habit. */
  #report(habit: Habit): void {
    const code = CONDITION_OF[habit]
    if (code === undefined || this.#conditions === undefined) return
    const shown = [...this.#known.values()].filter((known) => known.habit === habit)
    const untilMs = Math.max(0, ...shown.map((known) => known.untilMs))
    if (untilMs > this.#nowMs()) this.#conditions.raise(code, this.#host, {}, { untilMs })
    else this.#conditions.clear(code, this.#host)
  }
}
