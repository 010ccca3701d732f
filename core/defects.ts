import { AssertionError } from 'node:assert'
import type { Logger } from 'pino'
import { ShoalError } from './errors.ts'
import type { Metrics } from './metrics.ts'

/**
 * Unexpected errors. Each costs the connection, request or job in which it occurs, never the process: every callback from
 * outside runs inside the `Boundary` of one of those. Invariant: nothing in this file throws, whatever was thrown and
 * whatever log and boundary do.
 */

/** Where a defect occurred: the values of the label of `shoal_defects_total`. */
export const DEFECT_PLACES = [
  // a connection between nodes: before its handshakes, and as a link
  'peer_handshake',
  'peer_link',
  // one blob on this node: its timers, its origin, its verification
  'swarm',
  'verify_job',
  // copies of what local clients push
  'push',
  // this node's standing with the tracker
  'membership',
  'proxy_request',
  'proxy_connect',
  'admin_request',
  'tracker_request',
  'tracker_job',
  // belongs to none of these
  'process',
] as const
export type DefectPlace = (typeof DEFECT_PLACES)[number]

/** Defects that are logged with their stack per minute and place, as a stranger may repeat one. The metric counts all. */
export const DEFECTS_LOGGED_PER_MINUTE_MAX = 30

/** A defect in Shoal ended the connection, request or job. The log has its stack; please report it. */
export class DefectError extends ShoalError {
  readonly code = 'DEFECT'
}

export interface DefectsOptions {
  log: Pick<Logger, 'error'>
  /** Adds one to `shoal_defects_total`. */
  count: (where: DefectPlace) => void
}

/** The defects of one program. */
export class Defects {
  readonly #log: DefectsOptions['log']
  readonly #count: DefectsOptions['count']
  readonly #logged = new Map<DefectPlace, { minute: number; times: number }>()

  constructor({ log, count }: DefectsOptions) {
    this.#log = log
    this.#count = count
  }

  /** Logs and counts the thrown value. @returns the error with which to end the connection, request or job */
  note(where: DefectPlace, thrown: unknown, facts: object = {}): DefectError {
    const error = thrown instanceof Error ? thrown : new Error(`thrown: ${typeof thrown}`)
    try {
      this.#count(where)
      if (this.#mayLog(where)) this.#log.error({ ...facts, err: error, code: 'DEFECT', where }, 'defect')
    } catch {
      // If the log cannot be written (disk full), do not make a second error of it.
    }
    return new DefectError(`an unexpected error (${where})`, { cause: error })
  }

  /**
   * The boundary of one connection, request or job.
   * @param end ends it with the reason: the thrown error if it was expected, or a `DefectError`
   */
  boundary(where: DefectPlace, end: (reason: ShoalError) => void): Boundary {
    return new Boundary(this, where, end)
  }

  #mayLog(where: DefectPlace): boolean {
    const minute = Math.floor(Date.now() / 60_000)
    const before = this.#logged.get(where)
    const times = before?.minute === minute ? before.times + 1 : 1
    this.#logged.set(where, { minute, times })
    return times <= DEFECTS_LOGGED_PER_MINUTE_MAX
  }
}

/** The most that an error may cost: work that fails in here ends this one connection, request or job. */
export class Boundary {
  readonly #defects: Defects
  readonly #where: DefectPlace
  readonly #end: (reason: ShoalError) => void

  constructor(defects: Defects, where: DefectPlace, end: (reason: ShoalError) => void) {
    this.#defects = defects
    this.#where = where
    this.#end = end
  }

  /** Runs `work` and handles its promise, if any. @returns its result; undefined if it failed */
  run<Result>(work: () => Result): Result | undefined {
    try {
      const result = work()
      if (!(result instanceof Promise)) return result
      return result.catch((error: unknown) => this.fail(error)) as Result
    } catch (error) {
      this.fail(error)
      return undefined
    }
  }

  /** Wraps `work` as the callback of an event, a timer or a write. */
  callback<Args extends unknown[]>(work: (...args: Args) => unknown): (...args: Args) => void {
    return (...args) => {
      this.run(() => work(...args))
    }
  }

  /** Ends it with an error that was thrown inside; an error other than ShoalError is a defect. */
  fail(error: unknown): void {
    const reason = error instanceof ShoalError ? error : this.#defects.note(this.#where, error)
    try {
      this.#end(reason)
    } catch (another) {
      this.#defects.note(this.#where, another)
    }
  }
}

export const DEFECTS_METRIC = {
  name: 'shoal_defects_total',
  help: 'Unexpected errors by where they occurred; each ended one connection, request or job.',
} as const

/** Counts defects in the metrics of a program. */
export function defectCounter(metrics: Metrics): DefectsOptions['count'] {
  const counter = metrics.counter({ ...DEFECTS_METRIC, labels: { where: DEFECT_PLACES } })
  return (where) => counter.add({ where })
}

/**
 * Whether only a mistake in the code causes such an error. For places that continue after any error of a registry, a
 * tracker or a disk, which have many kinds.
 */
export function isDefect(error: unknown): boolean {
  const kinds = [TypeError, RangeError, ReferenceError, SyntaxError, AssertionError]
  return kinds.some((kind) => error instanceof kind)
}

/** An error of the operating system, such as a full disk: expected wherever files and sockets are used. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error
}
