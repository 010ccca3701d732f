/**
 * Decides what a holder keeps of what it has requested from the registry. Pure: no clock.
 *
 * A holder that is late keeps only what it will deliver in KEPT_MS by its own pace. The rest goes to whoever has nothing
 * else to fetch. So both meet: the late holder ends its request there.
 */

/** What a late holder delivers within this time stays with it. */
export const KEPT_MS = 2_000
/** A shorter time tells nothing: publications wait for each other. */
export const SILENT_MS_MIN = 1_000
/** The same before a lease's first piece: requests begin late, and many that begin at once share the registry's link. */
export const BEGIN_MS_MIN = 3_000
/** A holder that needs this many times as long for a piece as the swarm's holders do is late. */
export const LATE_TIMES = 5
/** The usual time is the mean of about this many pieces. */
const USUAL_PIECES = 16

export interface HolderPace {
  /** It has published a piece of this lease. */
  hasBegun: boolean
  /** Pieces that it delivered after its first publication. */
  pieces: number
  /** How long those took. */
  tookMs: number
  /** Since its last piece, or since it holds the lease. */
  idleMs: number
  /** Mean time that one piece took any holder lately; undefined before the first. */
  usualMs: number | undefined
  /** How long the tracker's answers take: a holder that waits for one cannot report more. */
  answerMs: number
}

/** @returns how many pieces a holder keeps of those that it has requested and not delivered; Infinity unless it is late */
export function piecesKept({ hasBegun, pieces, tookMs, idleMs, usualMs, answerMs }: HolderPace): number {
  const ownMs = (ms: number, leastMs: number) => (ms - answerMs < leastMs ? 0 : ms - answerMs)
  const slowestMs = Math.max(
    ownMs(tookMs, SILENT_MS_MIN) / Math.max(1, pieces),
    ownMs(idleMs, silentMsMin(hasBegun)),
  )
  if (usualMs === undefined || slowestMs <= usualMs * LATE_TIMES) return Number.POSITIVE_INFINITY
  return Math.floor(KEPT_MS / slowestMs)
}

/** Time without a piece after which a holder is late. */
export function lateAfterMs(usualMs: number, { hasBegun }: Pick<HolderPace, 'hasBegun'>): number {
  return Math.max(silentMsMin(hasBegun), usualMs * LATE_TIMES)
}

function silentMsMin(hasBegun: boolean): number {
  return hasBegun ? SILENT_MS_MIN : BEGIN_MS_MIN
}

/** The usual time of a piece, after `pieces` more that took `elapsedMs` together. */
export function usualPieceMs(usualMs: number | undefined, elapsedMs: number, pieces: number): number {
  const pieceMs = elapsedMs / pieces
  return usualMs === undefined ? pieceMs : usualMs + (pieceMs - usualMs) * Math.min(1, pieces / USUAL_PIECES)
}
