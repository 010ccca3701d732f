/**
 * Which pieces an asker may fetch from the registry. Pure: no clock, no store. A policy gets the swarm as the asker
 * may see it and answers with a run of pieces, or with nothing to do now.
 */

export interface LeaseQuestion {
  pieceCount: number
  /** The first missing piece from the asker's consumer on. */
  position: number
  /** True for pieces that have no hash, that nobody else is fetching, and that this asker may fetch. */
  isFree(piece: number): boolean
}

/** Pieces [firstPiece, firstPiece + pieces). */
export interface PieceRun {
  firstPiece: number
  pieces: number
}

export type LeasePolicy = (question: LeaseQuestion) => PieceRun | undefined

/**
 * The first free run from the asker's position on, else the first of all, at most `runPiecesMax` long. Without a
 * maximum the first asker takes the whole blob in one lease.
 */
export function firstFreeRun(runPiecesMax: number = Number.POSITIVE_INFINITY): LeasePolicy {
  return ({ pieceCount, position, isFree }) => {
    const find = (from: number, to: number) => {
      for (let piece = from; piece < to; piece += 1) if (isFree(piece)) return piece
      return undefined
    }
    const firstPiece = find(position, pieceCount) ?? find(0, Math.min(position, pieceCount))
    if (firstPiece === undefined) return undefined
    let end = firstPiece + 1
    while (end < pieceCount && end - firstPiece < runPiecesMax && isFree(end)) end += 1
    return { firstPiece, pieces: end - firstPiece }
  }
}

/** Bounds of how long an asker with no lease waits before it asks again, in milliseconds. */
export const RETRY_MIN_MS = 250
export const RETRY_MAX_MS = 5000

/**
 * When an asker that got no lease should ask again: when the first lease may run out, spread over a quarter more so
 * that the askers do not come at the same moment.
 * @param random in [0, 1)
 */
export function retryInMs(options: { nextExpiryInMs: number; random: number }): number {
  const base = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, options.nextExpiryInMs))
  return Math.round(base * (1 + options.random / 4))
}
