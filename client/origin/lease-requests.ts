import type { PieceIndex } from '../../core/metainfo.ts'
import type { FallbackView, MissingRun } from './fallback-run.ts'
import type { OriginView } from './origin-plan.ts'

/** A lease's first two requests: so little is lost where others come soon after. Each further one is twice as long. */
export const REQUEST_BYTES_MIN = 2 * 1024 * 1024
/** The longest request: a layer of 64 MiB takes six. */
export const REQUEST_BYTES_MAX = 32 * 1024 * 1024
/**
 * A node alone requests so much that the answer lasts at least this many times as long as it took to begin. A registry that
 * hashes a password for each request is slow to begin and quick to send.
 */
export const WAITS_PER_REQUEST = 4
/** … and at least this long: a newcomer waits no longer for what this node has requested. Milliseconds. */
export const ALONE_REQUEST_MS = 250
/** Among other nodes, a request that took longer is not doubled: others would wait for what a slow node has requested. */
export const GROW_MS_MAX = 2_000
/** A blob up to this size is one request. */
export const ONE_REQUEST_BYTES_MAX = 4 * 1024 * 1024

type RequestsView = Pick<FallbackView, 'layout' | 'have' | 'isNeeded' | 'place'> &
  Pick<OriginView, 'peersReach' | 'isTrackerOff'>

/** What this node follows: a lease, or a run that it fetches without one. */
export interface RequestedRun extends MissingRun {
  /** The tracker takes the pieces before this one as requested; undefined where nothing is reported: all is one request. */
  knownTo?: number | undefined
}

/**
 * Cuts one lease into requests to the registry: 2, 2, 4, 8, 16, 32 MiB. The next request is opened while the second half of
 * the last one arrives, and only when the tracker knows of it. So nobody else was given its pieces. If the tracker is silent
 * it is opened when the last one ends, and short: others may have been given its pieces. Where answers are slow to begin, a
 * node alone requests more at once. Pure.
 */
export class LeaseRequests {
  readonly #view: RequestsView
  readonly #isReported: boolean
  #end: number
  #knownTo: number
  #requestedTo: number
  #count = 0
  #takenAtMs = 0
  #last: MissingRun | undefined
  #at: number
  #isOneAnswer = false
  /** How the last request's answer began. */
  #answer: { waitedMs: number; atMs: number } | undefined
  /** The length of the next request that is worth the wait for its answer; set when the last one is half read. */
  #worthBytes = 0

  constructor(view: RequestsView, { first, end, knownTo }: RequestedRun) {
    this.#view = view
    this.#requestedTo = first
    this.#at = first
    this.#end = end
    this.#isReported = knownTo !== undefined
    this.#knownTo = knownTo ?? end
  }

  /** The run's present end. */
  get end(): number {
    return this.#end
  }

  /** All of its pieces are here or requested. */
  get isRequested(): boolean {
    for (let piece = this.#requestedTo; piece < this.#end; piece += 1)
      if (!this.#view.have.has(piece as PieceIndex)) return false
    return true
  }

  /** Some of its pieces are needed, and neither here nor requested. */
  get hasMore(): boolean {
    return this.#next() !== undefined
  }

  /** The tracker wants to hear up to where this node requests, now or next; undefined if it does not. */
  get reportedTo(): number | undefined {
    if (!this.#isReported) return undefined
    return Math.max(this.#requestedTo, (this.#isPastHalf && this.#next()?.end) || 0)
  }

  /** The pieces of the next request are made known, and those of the last one are about to end. */
  get isNextDue(): boolean {
    const next = this.#isPastHalf ? this.#next() : undefined
    return next !== undefined && next.end <= this.#knownTo
  }

  /** The next request is about to be made, and the tracker does not know of it yet. */
  get isReportDue(): boolean {
    return this.#isPastHalf && this.isNextUnknown
  }

  /** The tracker may give the pieces of the next request to others: it does not know of it yet. */
  get isNextUnknown(): boolean {
    return (this.#next()?.end ?? 0) > this.#knownTo
  }

  /** @param isOneAnswer all that is left comes in one answer. @returns the next request's pieces; undefined if none is left */
  take({ isOneAnswer = false, nowMs }: { isOneAnswer?: boolean; nowMs: number }): MissingRun | undefined {
    const next = this.#next({ isOneAnswer, isKnown: !this.isNextUnknown })
    if (next === undefined) return undefined
    this.#requestedTo = next.end
    this.#isOneAnswer = isOneAnswer
    const isSlow = this.#count > 0 && nowMs - this.#takenAtMs > GROW_MS_MAX
    if (!isSlow || this.#isAlone) this.#count += 1
    this.#takenAtMs = nowMs
    this.#last = next
    this.#answer = undefined
    return next
  }

  /** The answer to the last request began. Times are of one clock. */
  answered(answer: { waitedMs: number; atMs: number }): void {
    this.#answer = answer
  }

  /** The pieces before `piece` have arrived. */
  reached(piece: number, nowMs: number): void {
    const wasPastHalf = this.#isPastHalf
    this.#at = piece
    if (this.#isPastHalf && !wasPastHalf) this.#worthBytes = this.#worthNow(nowMs)
  }

  #worthNow(nowMs: number): number {
    if (this.#answer === undefined || this.#last === undefined) return 0
    const { waitedMs, atMs } = this.#answer
    const arrivedBytes = (this.#at - this.#last.first) * this.#view.layout.pieceBytes
    const worthMs = Math.max(ALONE_REQUEST_MS, waitedMs * WAITS_PER_REQUEST)
    return (arrivedBytes / Math.max(1, nowMs - atMs)) * worthMs
  }

  /**
   * The tracker answered a call that reported `reportedTo`. Another node fetches what lies beyond the lease's end, also if
   * it is requested: this node was late. What ends with the blob is read on.
   * @param leaseEnd null: the lease is no longer this node's
   */
  told(reportedTo: number, leaseEnd: number | null): void {
    const end = Math.min(this.#end, leaseEnd ?? this.#at + 1)
    this.#knownTo = Math.max(this.#knownTo, Math.min(reportedTo, end))
    this.#end = this.#isOneAnswer ? Math.max(end, this.#requestedTo) : end
    this.#requestedTo = Math.min(this.#requestedTo, this.#end)
  }

  /** The rest is not wanted any more, also if it is requested: the piece that is arriving is the last. */
  giveUpRest(): void {
    this.#end = Math.min(this.#end, this.#at + 1)
    this.#requestedTo = Math.min(this.#requestedTo, this.#end)
  }

  get #isPastHalf(): boolean {
    return this.#last !== undefined && this.#at >= (this.#last.first + this.#last.end) / 2
  }

  /** No other node is known to fetch the blob. */
  get #isAlone(): boolean {
    return this.#view.place().of === 1 && this.#view.peersReach() === 'none'
  }

  #next({ isOneAnswer = false, isKnown = true } = {}): MissingRun | undefined {
    const first = this.#firstMissing(this.#requestedTo)
    if (first === undefined) return undefined
    const pieces = isOneAnswer ? Number.POSITIVE_INFINITY : this.#pieces(isKnown)
    // A short rest is not worth a request of its own.
    const most = this.#end - first <= pieces * 1.5 ? this.#end : first + pieces
    let end = first + 1
    while (end < most && this.#isMissing(end)) end += 1
    return { first, end }
  }

  #pieces(isKnown: boolean): number {
    const { blobBytes, pieceBytes } = this.#view.layout
    if (!this.#isReported || blobBytes <= ONE_REQUEST_BYTES_MAX) return Number.POSITIVE_INFINITY
    const doubled = REQUEST_BYTES_MIN * 2 ** Math.max(0, this.#count - 1)
    if (!isKnown && !this.#view.isTrackerOff()) return Math.max(1, Math.floor(REQUEST_BYTES_MIN / pieceBytes))
    const worth = this.#isAlone ? this.#worthBytes : 0
    const bytes = Math.min(REQUEST_BYTES_MAX, Math.max(doubled, worth))
    return Math.max(1, Math.floor(bytes / pieceBytes))
  }

  #firstMissing(from: number): number | undefined {
    for (let piece = from; piece < this.#end; piece += 1) if (this.#isMissing(piece)) return piece
    return undefined
  }

  #isMissing(piece: number): boolean {
    return !this.#view.have.has(piece as PieceIndex) && this.#view.isNeeded(piece as PieceIndex)
  }
}
