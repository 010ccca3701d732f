/**
 * Which pieces an asker may fetch from the registry. Pure: no clock, no store. A policy gets the swarm as the asker
 * may see it and answers with a run of pieces, or with nothing to do now.
 */

export interface LeaseQuestion {
  pieceCount: number
  /** The first missing piece from the asker's consumer on. */
  position: number
  /** True for pieces that have no hash, or are awaited in vain, that nobody else is fetching, and that this asker may fetch. */
  isFree(piece: number): boolean
  /** Nodes that the free pieces are shared among: those in the swarm without the whole blob, the asker included. */
  sharers: number
  /** Leases of the swarm that are running now. */
  running: number
}

/** Pieces [firstPiece, firstPiece + pieces). */
export interface PieceRun {
  firstPiece: number
  pieces: number
}

export type LeasePolicy = (question: LeaseQuestion) => PieceRun | undefined

/**
 * Of a release nobody knows how many will come: the first asker must not get what the hundredth could fetch at the same
 * time. Four pieces keep one stream busy until the next lease is there.
 */
export const RUN_PIECES_MAX = 4
/**
 * Leases of one swarm at a time. More would share the registry's link among so many that the first piece comes late for
 * all; fewer would leave a registry idle whose single streams are slow.
 */
export const RUNNING_MAX = 32

/**
 * Shares a cold blob among all that ask: everyone gets about half of an equal share of what is still free, in the order
 * of the blob, so that those who come later, or are faster, find something too.
 */
export function fairShare({
  runPiecesMax = RUN_PIECES_MAX,
  runningMax = RUNNING_MAX,
}: {
  runPiecesMax?: number
  runningMax?: number
} = {}): LeasePolicy {
  return (question) => {
    const { pieceCount, sharers, running, isFree } = question
    if (running >= runningMax) return undefined
    let free = 0
    for (let piece = 0; piece < pieceCount; piece += 1) if (isFree(piece)) free += 1
    const share = Math.ceil(free / (2 * Math.max(1, sharers)))
    return firstFreeRun(Math.max(1, Math.min(runPiecesMax, share)))(question)
  }
}

/** For a registry without Range: one reader at a time, from the first free piece to the end. */
export const oneReader: LeasePolicy = (question) =>
  question.running > 0 ? undefined : firstFreeRun()({ ...question, position: 0 })

/**
 * The first free run from the asker's position on, else the first of all, at most `runPiecesMax` long. Without a
 * maximum the first asker takes the whole blob in one lease.
 */
export function firstFreeRun(
  runPiecesMax: number = Number.POSITIVE_INFINITY,
): (question: Pick<LeaseQuestion, 'pieceCount' | 'position' | 'isFree'>) => PieceRun | undefined {
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
