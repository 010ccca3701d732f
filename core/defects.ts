import { AssertionError } from 'node:assert'
import type { Logger } from 'pino'
import { ShoalError } from './errors.ts'
import type { Metrics } from './metrics.ts'

/**
 * Errors that no code expected. One of them costs the connection, request or job in which it was met, never the process:
 * every callback through which the outside reaches one of those runs inside its `Boundary`. Invariant: nothing in here
 * throws, whatever was thrown and whatever log and boundary do.
 */

/** Where a defect was met: the values of the label of `shoal_defects_total`. */
export const DEFECT_PLACES = [
  // a connection between nodes: before its handshakes, and as a link
  'peer_handshake',
  'peer_link',
  // one blob on this node: its timers, its origin, its verification
  'swarm',
  'verify_job',
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

/** Defects that are logged with their stack, in a minute and place; the metric has them all. A stranger may repeat one. */
export const DEFECTS_LOGGED_PER_MINUTE_MAX = 30

/** A defect of Shoal's: what it was met in has ended. The log has it with its stack; please report it. */
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

  /** Logs and counts what was thrown. @returns what to end the connection, request or job with */
  note(where: DefectPlace, thrown: unknown, facts: object = {}): DefectError {
    const error = thrown instanceof Error ? thrown : new Error(`thrown: ${typeof thrown}`)
    try {
      this.#count(where)
      if (this.#mayLog(where)) this.#log.error({ ...facts, err: error, code: 'DEFECT', where }, 'defect')
    } catch {
      // A log that cannot be written (disk full) must not make this one error two.
    }
    return new DefectError(`an unexpected error (${where})`, { cause: error })
  }

  /**
   * The boundary of one connection, request or job.
   * @param end ends it with the reason: an expected error as it was thrown, or a `DefectError`
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

/** What an error may cost, at most: whatever is run in here ends this one thing when it fails. */
export class Boundary {
  readonly #defects: Defects
  readonly #where: DefectPlace
  readonly #end: (reason: ShoalError) => void

  constructor(defects: Defects, where: DefectPlace, end: (reason: ShoalError) => void) {
    this.#defects = defects
    this.#where = where
    this.#end = end
  }

  /** Runs `work`, and sees to its promise when it makes one. @returns its result; undefined when it failed */
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

  /** `work` as what an event, a timer or a write calls. */
  callback<Args extends unknown[]>(work: (...args: Args) => unknown): (...args: Args) => void {
    return (...args) => {
      this.run(() => work(...args))
    }
  }

  /** Ends this with an error that was thrown in it; one that is not a ShoalError is a defect. */
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
  help: 'Unexpected errors, each of which ended one connection, request or job, by where it was met.',
} as const

/** Counts defects in the metrics of a program. */
export function defectCounter(metrics: Metrics): DefectsOptions['count'] {
  const counter = metrics.counter({ ...DEFECTS_METRIC, labels: { where: DEFECT_PLACES } })
  return (where) => counter.add({ where })
}

/**
 * Whether only a mistake in the code makes such an error: for places that go on after any error of a registry, a tracker or
 * a disk, whose kinds are many.
 */
export function isDefect(error: unknown): boolean {
  const kinds = [TypeError, RangeError, ReferenceError, SyntaxError, AssertionError]
  return kinds.some((kind) => error instanceof kind)
}

/** An error of the operating system, such as a full disk: expected wherever files and sockets are used. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error
}
