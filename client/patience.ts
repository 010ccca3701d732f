/** With no byte for so long while a reader waits, this node fetches for itself. */
const PATIENCE_MS = 3_000
/** With no byte for so long it tells the tracker, which knows whether others fetch what is missing, or sends somebody. */
const STARVES_AFTER_MS = 1_500
/** With bytes that come, but no whole piece. */
const PIECE_PATIENCE_MS = 20_000
/** The tracker says that others fetch what is missing: so long it is believed. */
const TRUST_MS = 30_000
/** The tracker has sent somebody for what lost its holders: the time of a lease, and for the piece to spread. */
const REFETCH_TRUST_MS = 12_000
/** With no piece from anywhere, and fetches from the registry that fail, readers are told after so long. */
const STARVED_MS = 10_000
/** Between the first two calls to the tracker that no lease can come of. */
const ASK_MS_MIN = 6_000
/** Between any two of them. */
const ASK_MS_MAX = 15_000

/** How long a reader's blob has stood still, and what speaks for waiting on. Pure: all times are `Date.now()`'s. */
export class Patience {
  private movedAtMs: number
  /** Since when the tracker has said that others fetch what is missing. */
  private toldToWaitAtMs: number | undefined
  private trustMs = TRUST_MS
  /** When fetches began to fail with no piece in between. */
  private brokenAtMs: number | undefined
  private asked = 0

  constructor(nowMs: number) {
    this.movedAtMs = nowMs
  }

  /** A reader came: everything counts from now. */
  begin(nowMs: number): void {
    this.movedAtMs = nowMs
    this.brokenAtMs = undefined
    this.toldToWaitAtMs = undefined
    this.asked = 0
  }

  /** A piece came in. */
  moved(nowMs: number): void {
    this.movedAtMs = nowMs
    this.brokenAtMs = undefined
    if (this.toldToWaitAtMs !== undefined && this.trustMs === TRUST_MS) this.toldToWaitAtMs = nowMs
  }

  /** A fetch from the registry failed. */
  broke(nowMs: number): void {
    this.brokenAtMs ??= nowMs
  }

  /**
   * The tracker says that others fetch what is missing.
   * @param isCold it has no hash yet, so that they tell the tracker of each piece; else nobody hears how they get on
   */
  toldToWait(nowMs: number, { isCold }: { isCold: boolean }): void {
    this.toldToWaitAtMs ??= nowMs
    this.trustMs = isCold ? TRUST_MS : REFETCH_TRUST_MS
  }

  get isToldToWait(): boolean {
    return this.toldToWaitAtMs !== undefined
  }

  /** Nobody says so any more. */
  notToldToWait(): void {
    this.toldToWaitAtMs = undefined
  }

  /**
   * Every hash is known and a piece is out of reach: no lease comes of asking, peers come with heartbeats too. Asked every
   * second, a tracker hears 12 to 16 calls of each node of a large swarm while the rarest pieces spread; beginning after one
   * second, 7.
   * @returns ms to the next call, twice as long each time
   */
  nextAskInMs(): number {
    const delayMs = Math.min(ASK_MS_MAX, ASK_MS_MIN * 2 ** this.asked)
    this.asked += 1
    return delayMs
  }

  /** @param peersIdleMs how long no block has come from a peer, and no piece within reach */
  isStarving(nowMs: number, peersIdleMs: number): boolean {
    return Math.min(nowMs - this.movedAtMs, peersIdleMs) > STARVES_AFTER_MS
  }

  /** @param peersIdleMs how long no block has come from a peer, and no piece within reach */
  isOut(nowMs: number, peersIdleMs: number): boolean {
    const stoodMs = nowMs - this.movedAtMs
    if (this.toldToWaitAtMs !== undefined && nowMs - this.toldToWaitAtMs < this.trustMs) return false
    return Math.min(stoodMs, peersIdleMs) > PATIENCE_MS || stoodMs > PIECE_PATIENCE_MS
  }

  /** Nothing comes, and the registry does not give it either. */
  isBroken(nowMs: number): boolean {
    return nowMs - (this.brokenAtMs ?? nowMs) > STARVED_MS
  }
}
