/**
 * Whether the tracker answers. Pure: the times, in ms of one clock, are passed in.
 *
 *             a heartbeat or a call               two heartbeats in a row
 *             got no answer                       got no answer
 *   WORKING ───────────────────────► SUSPECT ───────────────────────► OFF
 *      │                                │                               ▲
 *      └────────────────────────────────┴───────────────────────────────┘
 *             a call waits, and nothing at all came from the tracker for SILENT_MS_MAX
 *             since that call, or since a heartbeat before it
 *
 * Only the answer to a heartbeat leads back to WORKING. While the tracker is OFF no call of a pull is made. Before the first
 * answer or failure it is UNKNOWN, and used as if it worked.
 */
export type TrackerStanding = 'unknown' | 'working' | 'suspect' | 'off'

/** How long a call waits for a sign of life: an answer to any call counts. All calls in flight share the wait. */
export const SILENT_MS_MAX = 2_000
/**
 * A tracker that refuses connections may only be starting again: until it was away for so long, nodes go on waiting for what
 * others fetch under its leases.
 */
export const GONE_AFTER_MS = 3_500
/** A tracker that was restarted misses one. */
export const HEARTBEATS_FAILED_MAX = 2
/** A call that has waited for this time is followed by a heartbeat, whose answer is the tracker's acknowledgement … */
export const PROBE_AFTER_MS = 300
/** … and by another this long after each sign of life. */
export const PROBE_AGAIN_AFTER_MS = 1_000

export class TrackerState {
  #standing: TrackerStanding = 'unknown'
  #sinceMs: number
  #heartbeatsFailed = 0
  #answeredAtMs = Number.NEGATIVE_INFINITY
  /** When the first heartbeat since the last sign of life was sent. */
  #heartbeatSentAtMs = Number.NEGATIVE_INFINITY

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  get standing(): TrackerStanding {
    return this.#standing
  }

  /** Since when it answers, or does not. */
  get sinceMs(): number {
    return this.#sinceMs
  }

  /** An answer is due: it is suspect or off. */
  get isSilent(): boolean {
    return this.#standing === 'suspect' || this.isOff
  }

  get isOff(): boolean {
    return this.#standing === 'off'
  }

  /** It is off, and has been away for longer than a restart takes. */
  isGone(nowMs: number): boolean {
    return this.isOff && nowMs - this.#answeredAtMs >= GONE_AFTER_MS
  }

  /** Something came from the tracker since then. */
  hasAnsweredSince(sinceMs: number): boolean {
    return this.#answeredAtMs >= sinceMs
  }

  heartbeatSent(nowMs: number): void {
    if (!this.#isHeartbeatOpen) this.#heartbeatSentAtMs = nowMs
  }

  heartbeatAnswered(nowMs: number): void {
    this.#become('working', nowMs)
    this.#heartbeatsFailed = 0
    this.#answeredAtMs = nowMs
  }

  heartbeatFailed(nowMs: number): void {
    this.#heartbeatsFailed += 1
    if (this.#heartbeatsFailed >= HEARTBEATS_FAILED_MAX) this.#become('off', nowMs)
    else this.callFailed(nowMs)
  }

  callAnswered(nowMs: number): void {
    if (this.#standing === 'unknown') this.#become('working', nowMs)
    this.#answeredAtMs = nowMs
  }

  callFailed(nowMs: number): void {
    if (!this.isSilent) this.#become('suspect', nowMs)
  }

  /**
   * A call has been in flight since `sinceMs`. Turns OFF when the tracker has been silent for too long.
   * @returns whether a heartbeat is wanted now, and when to look again; undefined when the tracker is off
   */
  look(sinceMs: number, nowMs: number): { isProbeWanted: boolean; againInMs: number } | undefined {
    const silentMs = nowMs - this.#silentSinceMs(sinceMs)
    if (silentMs >= SILENT_MS_MAX) this.#become('off', nowMs)
    if (this.isOff) return undefined
    const probeAfterMs = this.hasAnsweredSince(sinceMs) ? PROBE_AGAIN_AFTER_MS : PROBE_AFTER_MS
    const isProbeWanted = silentMs >= probeAfterMs
    return { isProbeWanted, againInMs: (isProbeWanted ? SILENT_MS_MAX : probeAfterMs) - silentMs }
  }

  /** A heartbeat that got no answer was a question too: a pull that comes after it waits only for what is left. */
  #silentSinceMs(sinceMs: number): number {
    const askedAtMs = this.#isHeartbeatOpen ? Math.min(sinceMs, this.#heartbeatSentAtMs) : sinceMs
    return Math.max(askedAtMs, this.#answeredAtMs)
  }

  get #isHeartbeatOpen(): boolean {
    return this.#heartbeatSentAtMs > this.#answeredAtMs
  }

  #become(standing: TrackerStanding, nowMs: number): void {
    const before = { isSilent: this.isSilent, isUnknown: this.#standing === 'unknown' }
    this.#standing = standing
    if (before.isUnknown || before.isSilent !== this.isSilent) this.#sinceMs = nowMs
  }
}
