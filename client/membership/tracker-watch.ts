import type { Conditions } from '../../core/conditions.ts'
import { reasonOf, ShoalError } from '../../core/errors.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { TrackerStatus } from '../client.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import { type TrackerStanding, TrackerState } from './tracker-state.ts'

export interface TrackerWatchOptions {
  /** For the condition; '' while it is unknown. */
  trackerUrl: string
  conditions: Conditions
}

/** While the tracker is off, a call makes it be asked at most this often … */
export const LOOK_AGAIN_MS = 5_000
/** … and all calls wait this long for a sign of life: a tracker that was started again answers, or refuses, soon. */
export const LOOK_PATIENCE_MS = 250

interface Call {
  sinceMs: number
  abort: AbortController
}

/**
 * Carries out tracker-state.ts for all calls to the tracker, and counts how they end. Invariant: while the tracker is off no call is in flight
 * but heartbeats and joins; the call that finds it silent ends the waiting of all others.
 */
export class TrackerWatch {
  /** Sends a heartbeat now, unless one is in flight. @returns its end; undefined if none can be sent */
  onProbeWanted: () => Promise<void> | undefined = () => undefined
  trackerUrl: string
  readonly #conditions: Conditions
  readonly #state = new TrackerState(performance.now())
  /** The oldest first. */
  readonly #calls = new Set<Call>()
  #timer: NodeJS.Timeout | undefined
  #lookedAgainAtMs = Number.NEGATIVE_INFINITY
  #looking: Promise<unknown> = Promise.resolve()
  /** The last heartbeat was neither answered nor refused, as when the tracker is frozen: nobody waits for the next. */
  #isMute = false
  #heard = Promise.withResolvers<void>()
  readonly #ended = { answered: 0, refused: 0, failed: 0 }
  #lastError: TrackerStatus['lastError']

  constructor(options: TrackerWatchOptions) {
    this.trackerUrl = options.trackerUrl
    this.#conditions = options.conditions
  }

  get standing(): TrackerStanding {
    return this.#state.standing
  }

  get isOff(): boolean {
    return this.#state.isOff
  }

  get isGone(): boolean {
    return this.#state.isGone(performance.now())
  }

  /** For people. */
  status(): TrackerStatus {
    const { standing, isSilent, sinceMs } = this.#state
    return {
      state: standing === 'unknown' ? 'unknown' : isSilent ? 'silent' : 'connected',
      sinceMs: Math.round(Date.now() - (performance.now() - sinceMs)),
      ...(this.#lastError && { lastError: this.#lastError }),
      calls: { ...this.#ended },
    }
  }

  hasHeardSince(sinceMs: number): boolean {
    return this.#state.hasAnsweredSince(sinceMs)
  }

  /** Resolves when something came from the tracker since then. */
  async heardSince(sinceMs: number): Promise<void> {
    while (!this.hasHeardSince(sinceMs)) await this.#heard.promise
  }

  /** Another tracker is asked from now on. */
  moveTo(trackerUrl: string): void {
    this.#conditions.clear('TRACKER_SILENT', this.trackerUrl)
    this.trackerUrl = trackerUrl
    if (this.isOff) this.#conditions.raise('TRACKER_SILENT', trackerUrl, {})
  }

  /** Why no call may be made: the tracker is off, also after the look that is due now and then. */
  async whyNot(): Promise<TrackerUnavailableError | undefined> {
    if (this.isOff) await this.#lookAgain()
    return this.isOff ? new TrackerUnavailableError('the tracker does not answer') : undefined
  }

  /**
   * Makes a call that a pull needs.
   * @throws TrackerUnavailableError while the tracker is off, but for one look now and then; and when it turns off
   */
  async call<Answer>(send: (signal: AbortSignal) => Promise<Answer>): Promise<Answer> {
    const reason = await this.whyNot()
    if (reason !== undefined) throw reason
    const call = { sinceMs: performance.now(), abort: new AbortController() }
    this.#calls.add(call)
    this.#lookSoon()
    try {
      const answer = await this.#counted(send(call.abort.signal))
      this.#answered()
      return answer
    } catch (error) {
      this.#callFailed(error)
      throw error
    } finally {
      this.#calls.delete(call)
    }
  }

  /** Sends a heartbeat, or joins. Only the answer to one ends the silence. */
  async probe<Answer>(send: () => Promise<Answer>): Promise<Answer> {
    const sentAtMs = performance.now()
    this.#state.heartbeatSent(sentAtMs)
    try {
      const answer = await this.#counted(send())
      this.#heartbeatAnswered()
      return answer
    } catch (error) {
      // A refusal is an answer too.
      if (error instanceof TrackerRefusedError) this.#heartbeatAnswered()
      else if (error instanceof TrackerUnavailableError) {
        this.#isMute = performance.now() - sentAtMs > LOOK_PATIENCE_MS
        this.#state.heartbeatFailed(performance.now())
        if (this.isOff) this.#off(error)
      }
      throw error
    }
  }

  async #counted<Answer>(sent: Promise<Answer>): Promise<Answer> {
    try {
      const answer = await sent
      this.#ended.answered += 1
      return answer
    } catch (error) {
      this.#ended[error instanceof TrackerRefusedError ? 'refused' : 'failed'] += 1
      const code = error instanceof ShoalError ? error.code : 'UNEXPECTED'
      this.#lastError = { code, reason: reasonOf(error), atMs: Date.now() }
      throw error
    }
  }

  async #lookAgain(): Promise<void> {
    if (performance.now() - this.#lookedAgainAtMs >= LOOK_AGAIN_MS) {
      this.#lookedAgainAtMs = performance.now()
      const heartbeat = this.onProbeWanted()
      if (heartbeat && !this.#isMute) this.#looking = isSettledWithin(heartbeat, LOOK_PATIENCE_MS)
    }
    await this.#looking
  }

  #heartbeatAnswered(): void {
    this.#state.heartbeatAnswered(performance.now())
    this.#answered()
    this.#conditions.clear('TRACKER_SILENT', this.trackerUrl)
  }

  #answered(): void {
    this.#state.callAnswered(performance.now())
    this.#heard.resolve()
    this.#heard = Promise.withResolvers()
  }

  #callFailed(error: unknown): void {
    if (error instanceof TrackerRefusedError) this.#answered()
    if (!(error instanceof TrackerUnavailableError) || this.isOff) return
    this.#state.callFailed(performance.now())
    void this.onProbeWanted()
  }

  #look(): void {
    clearTimeout(this.#timer)
    const [oldest] = this.#calls
    if (oldest === undefined) return
    const next = this.#state.look(oldest.sinceMs, performance.now())
    if (next === undefined) {
      this.#isMute = true
      this.#off()
      return
    }
    if (next.isProbeWanted) void this.onProbeWanted()
    this.#timer = setTimeout(() => this.#lookSoon(), next.againInMs)
    this.#timer.unref()
  }

  /** An answer may have arrived while this process was busy: timers come before what was received, and this comes after. */
  #lookSoon(): void {
    setImmediate(() => this.#look())
  }

  #off(error?: ShoalError): void {
    clearTimeout(this.#timer)
    for (const { abort } of this.#calls) abort.abort()
    const facts = error === undefined ? {} : { reason: reasonOf(error) }
    this.#conditions.raise('TRACKER_SILENT', this.trackerUrl, facts)
  }
}
