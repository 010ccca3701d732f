import type { HashesResponse } from '../../core/tracker-api.ts'
import {
  type FallbackView,
  fallbackRun,
  lacksPieces,
  type MissingRun,
  outOfReachRuns,
} from './fallback-run.ts'

/**
 * Decides what this node fetches from the registry, when it waits for others, and when it fetches without a lease.
 * Pure: no socket, no clock, no random numbers; all times are milliseconds of one clock that the caller passes in. The
 * client (origin.ts) and the simulation (bench/sim/sim-origin.ts) carry out the same plan.
 *
 *                          a lease arrives: fetch its pieces, publish their hashes
 *                                              ┌───┐
 *      start()                                 │   ▼
 *   ──────────────────────────────────────►  FLOWING  ◄─────────────────────────┐
 *                                               │                               │
 *              1.5 s without a byte, and the    │         a piece arrives from  │
 *              tracker did not say "wait"       ▼         a peer                │
 *                                            STARVING  ──────────────────────►──┤
 *              the tracker is told which        │                               │
 *              pieces are out of reach; it      │                               │
 *              says "wait" or leases them       │                               │
 *                                               │                               │
 *              3 s without a byte, or 20 s      ▼                               │
 *              without a piece, and no "wait" ALONE  ────────────────────────►──┘
 *              that still counts                │ ▲
 *                                               └─┘ fetch a run without a lease
 *
 * STARVING begins at once while peers are known and none can be reached.
 * ALONE also follows FLOWING directly: after 20 s without a piece, and at once when the tracker says that every piece has a
 * hash and that nobody has or fetches the missing ones, or when the tracker is off and some piece is out of reach. STARVING and ALONE begin only while this node fetches nothing, but
 * for that answer. "Wait" means that others fetch what is missing: it
 * counts for 30 s without a piece while the blob is cold, and for 12 s after that. Where every piece has a hash and some
 * piece is out of reach, a peer's piece does not end STARVING or ALONE: nobody will be leased that piece.
 */

/**
 * Runs that this node fetches at the same time, each under its own lease. The next lease is asked for when the last request
 * of the other is made, so that the link stays busy.
 */
export const RUNS_MAX = 2
/** After this time without a byte the node tells the tracker, which says "wait" or leases the pieces to somebody. */
const STARVING_AFTER_MS = 1_500
/** After this time without a byte the node fetches without a lease. */
const ALONE_AFTER_MS = 3_000
/** The same where bytes arrive but no complete piece. */
const ALONE_AFTER_NO_PIECE_MS = 20_000
/** How long "wait" counts while the blob is cold: holders of leases publish each piece that they fetch. */
const WAIT_COLD_MS = 30_000
/** How long "wait" counts when all hashes are known: the time of a lease, plus the time for the piece to spread. */
const WAIT_REFETCH_MS = 12_000
/** After this time of failed fetches without a piece from anywhere, readers are told. */
const BROKEN_AFTER_MS = 10_000
/** Pause after a refusal or a broken connection of the registry, and after a refused call to the tracker. */
const RETRY_MS = 1_000
/** A node that waits for others asks again so soon after it lost a peer: that one may have held the lease. */
const LOST_PEER_MS = 500
/** Pause after the first call to the tracker that cannot yield a lease. It doubles with each further call. */
const ASK_PAUSE_MS_MIN = 6_000
/** How long a reader of a part waits for peers, where others hold the leases of all that it needs. */
const PART_WAIT_MS = 400
/** The longest of these pauses. */
const ASK_PAUSE_MS_MAX = 15_000

/**
 * Whether a peer can be expected to offer pieces now: a link is open, or a dial began a moment ago, or the peers that are
 * known cannot be reached, or none is known.
 */
export type PeersReach = 'linked' | 'dialling' | 'unreachable' | 'none'

/** The plan's view of this node's copy of the blob and its surroundings. */
export interface OriginView extends FallbackView {
  /** Runs that this node is fetching from the registry. */
  runsActive(): number
  /** Some run has pieces that this node has not requested yet. */
  hasUnrequested(): boolean
  /** An open-ended read is open: only one run at a time can use it. */
  isReadingOn(): boolean
  /** Time since a block arrived from a peer or a piece came within reach, in ms. */
  peersIdleMs(): number
  peersReach(): PeersReach
  /** The tracker does not answer, and nobody waits for it (tracker-state.ts). */
  isTrackerOff(): boolean
  /** A call to the tracker is in flight. */
  isAsking(): boolean
}

/** The tracker's answer to a call that asked for a lease. */
export type LeaseAnswer = Pick<HashesResponse, 'status' | 'retryInMs'> & {
  isLeased: boolean
  /** Number of peers that it named. */
  peers: number
}

/** The next step: fetch pieces [first, end) without a lease, or ask the tracker for one. */
export type OriginStep = ({ do: 'fetch' } & MissingRun) | { do: 'ask' }

export class OriginPlan {
  readonly #view: OriginView
  #state: 'flowing' | 'starving' | 'alone' = 'flowing'
  #isStarted = false
  #pieceAtMs: number
  /** Time of the tracker's "wait", or of the last piece since. */
  #waitSinceMs: number | undefined
  #waitMs = WAIT_COLD_MS
  /** Time of the first failed fetch since the last piece. */
  #brokenSinceMs: number | undefined
  /** Every piece has a hash: the tracker leases only pieces out of reach. */
  #isAllPublished = false
  #areRangesIgnored = false
  #callAfterMs = 0
  #fetchAfterMs = 0
  #fruitlessAsks = 0
  #elsewhereSinceMs: number | undefined

  constructor(view: OriginView, nowMs: number) {
    this.#view = view
    this.#pieceAtMs = nowMs
  }

  /** A reader arrived: every timeout starts now. */
  start(nowMs: number): void {
    this.#isStarted = true
    this.#pieceAtMs = nowMs
    this.#brokenSinceMs = undefined
    this.#waitSinceMs = undefined
    this.#fruitlessAsks = 0
  }

  /** The last reader left. */
  stop(): void {
    this.#isStarted = false
    this.#state = 'flowing'
    this.#elsewhereSinceMs = undefined
  }

  get isActive(): boolean {
    return this.#isStarted
  }

  get isAlone(): boolean {
    return this.#state === 'alone'
  }

  /** The registry was asked for pieces, or the tracker said that others fetch them. */
  get isPromised(): boolean {
    return this.#view.runsActive() > 0 || this.#waitSinceMs !== undefined
  }

  get isRangeIgnored(): boolean {
    return this.#areRangesIgnored
  }

  /** Call a few times a second. @returns undefined when there is nothing to do now */
  next(nowMs: number): OriginStep | undefined {
    if (!this.#isStarted || this.#view.have.isFull) return undefined
    const isIdle = this.#view.runsActive() === 0
    if (isIdle) this.#lookElsewhere(nowMs)
    if (isIdle) this.#lookForHelp(nowMs)
    if (isIdle && this.#state === 'alone' && nowMs >= this.#fetchAfterMs) {
      const run = fallbackRun(this.#view)
      return run && { do: 'fetch', ...run }
    }
    return !this.#view.isAsking() && this.mayAsk(nowMs) ? { do: 'ask' } : undefined
  }

  #lookForHelp(nowMs: number): void {
    const peersIdleMs = this.#view.peersIdleMs()
    const pieceIdleMs = nowMs - this.#pieceAtMs
    const idleMs = Math.min(pieceIdleMs, peersIdleMs)
    const isAskedToWait = this.#waitSinceMs !== undefined
    const reach = this.#view.peersReach()
    const isStarving = idleMs > STARVING_AFTER_MS || reach === 'unreachable'
    if (this.#state === 'flowing' && isStarving && !isAskedToWait && !this.#view.isAsking()) {
      this.#state = 'starving'
      this.#callAfterMs = nowMs
    }
    const isWaitOver = this.#waitSinceMs === undefined || nowMs - this.#waitSinceMs >= this.#waitMs
    if (isWaitOver && (idleMs > ALONE_AFTER_MS || pieceIdleMs > ALONE_AFTER_NO_PIECE_MS))
      this.#state = 'alone'
    // Nobody leases what nobody offers.
    if (this.#view.isTrackerOff() && reach !== 'dialling' && lacksPieces(this.#view)) this.#state = 'alone'
  }

  /** This node has room for a run, and some piece is neither offered nor in flight. */
  mayFollowLease(nowMs: number): boolean {
    const runsMax = this.#view.isReadingOn() || this.#areRangesIgnored ? 1 : RUNS_MAX
    const isFree = this.#view.runsActive() < runsMax && nowMs >= this.#fetchAfterMs
    return this.#isStarted && isFree && !this.#view.hasUnrequested() && lacksPieces(this.#view)
  }

  /** A call that asks for a lease is allowed now. */
  mayAsk(nowMs: number): boolean {
    return this.mayCall(nowMs) && this.mayFollowLease(nowMs)
  }

  /** A call to the tracker is allowed now: no pause after a failed call or a `retryInMs` is running. */
  mayCall(nowMs: number): boolean {
    return nowMs >= this.#callAfterMs
  }

  /** The pieces that a call reports as out of reach. Nothing is reported while pieces flow. */
  awaited(): { firstPiece: number; pieces: number }[] | undefined {
    return this.#state === 'flowing' ? undefined : outOfReachRuns(this.#view)
  }

  /** The tracker answered a call that asked for a lease. */
  answered({ isLeased, status, retryInMs, peers }: LeaseAnswer, nowMs: number): void {
    this.#isAllPublished = status !== 'cold'
    if (isLeased) {
      this.#waitSinceMs = undefined
      return
    }
    this.#callAfterMs = nowMs + (retryInMs ?? this.#nextAskPauseMs())
    if (retryInMs !== null) {
      this.#waitSinceMs ??= nowMs
      this.#waitMs = this.#isAllPublished ? WAIT_REFETCH_MS : WAIT_COLD_MS
      return
    }
    this.#waitSinceMs = undefined
    // Every hash is known, and no node has the bytes or fetches them: there is nothing to wait for.
    if (this.#isStarted && this.#isAllPublished && peers === 0) this.#state = 'alone'
  }

  /**
   * Every hash is known, and peers have the blob: until they are connected nothing is offered, but there is no lease to ask
   * for. Else an image of 60 layers would make 60 calls for nothing. Peers that cannot be reached end the pause.
   */
  heldByPeers(nowMs: number): void {
    this.#isAllPublished = true
    this.#callAfterMs = Math.max(this.#callAfterMs, nowMs + ASK_PAUSE_MS_MIN)
  }

  /**
   * Every hash is known and a piece is out of reach. Asking yields no lease then, and heartbeats bring peers too.
   * With one call a second, the tracker received 12 to 16 calls of each node of a large swarm while the rarest pieces
   * spread; with pauses that begin at one second, 7.
   */
  #nextAskPauseMs(): number {
    const pauseMs = Math.min(ASK_PAUSE_MS_MAX, ASK_PAUSE_MS_MIN * 2 ** this.#fruitlessAsks)
    this.#fruitlessAsks += 1
    return pauseMs
  }

  /** A link to a peer has ended. What the tracker said of others may no longer hold. */
  peerLost(nowMs: number): void {
    if (this.#waitSinceMs !== undefined) this.#callAfterMs = Math.min(this.#callAfterMs, nowMs + LOST_PEER_MS)
  }

  /** Others hold the leases of all pieces that the readers of a part need, and may come to them late. */
  leasedElsewhere(nowMs: number): void {
    this.#callAfterMs = nowMs + RETRY_MS
    this.#elsewhereSinceMs ??= nowMs
  }

  #lookElsewhere(nowMs: number): void {
    if (this.#elsewhereSinceMs === undefined || nowMs - this.#elsewhereSinceMs < PART_WAIT_MS) return
    this.#elsewhereSinceMs = undefined
    if (this.#view.peersIdleMs() >= PART_WAIT_MS) this.#state = 'alone'
  }

  /**
   * The tracker refused or did not answer a call.
   * @param isSilent it did not answer: its "wait" no longer counts, and other nodes cannot publish either
   */
  callFailed({ isSilent }: { isSilent: boolean }, nowMs: number): void {
    this.#callAfterMs = nowMs + RETRY_MS
    if (isSilent) this.#waitSinceMs = undefined
  }

  /** A piece was stored. */
  pieceArrived(from: 'registry' | 'peer', nowMs: number): void {
    this.#pieceAtMs = nowMs
    this.#brokenSinceMs = undefined
    // While the blob is cold, a piece shows that the lease holders make progress.
    if (this.#waitSinceMs !== undefined && this.#waitMs === WAIT_COLD_MS) this.#waitSinceMs = nowMs
    if (from === 'registry' || (this.#isAllPublished && lacksPieces(this.#view))) return
    this.#state = 'flowing'
  }

  /** The registry refused, or its connection broke. @param retryInMs it told this node to wait so long: nothing is broken */
  fetchFailed(nowMs: number, retryInMs?: number): void {
    this.#fetchAfterMs = nowMs + Math.max(RETRY_MS, retryInMs ?? 0)
    this.#brokenSinceMs ??= nowMs + (retryInMs ?? 0)
    if (retryInMs === undefined) return
    // When the time is over, all that waited ask for leases again: each alone would fetch a copy.
    this.#waitSinceMs = nowMs + retryInMs
    this.#waitMs = WAIT_COLD_MS
  }

  /**
   * The registry answered a range request with the whole blob. The node asks at once for a lease to read it from the start: a
   * "wait" was said about ranges, by holders that are about to find out the same.
   */
  rangeIgnored(nowMs: number): void {
    if (!this.#areRangesIgnored) this.#callAfterMs = Math.min(this.#callAfterMs, nowMs)
    this.#areRangesIgnored = true
  }

  /** No piece arrives from anywhere, and fetches fail: readers must stop waiting. */
  isBroken(nowMs: number): boolean {
    return this.#brokenSinceMs !== undefined && nowMs - this.#brokenSinceMs > BROKEN_AFTER_MS
  }
}
