/**
 * Decides which pieces an asker may fetch from the registry. Pure: no clock, no store. A policy sees the swarm from the
 * asker's side, and answers with a run of pieces or with nothing.
 */

export interface LeaseQuestion {
  pieceCount: number
  /** The first missing piece from the asker's reader on. */
  position: number
  /** True for pieces without a hash, or that did not arrive, if nobody else is fetching them and this asker may. */
  isFree(piece: number): boolean
  /** Nodes that share the free pieces: those in the swarm without the whole blob, including the asker. */
  sharers: number
  /** Running leases of the swarm. */
  running: number
}

/** Pieces [firstPiece, firstPiece + pieces). */
export interface PieceRun {
  firstPiece: number
  pieces: number
}

export type LeasePolicy = (question: LeaseQuestion) => PieceRun | undefined

/**
 * Keep leases small so that nodes that join later find work: nobody knows how many will pull a new release. Four pieces
 * keep one stream busy until the next lease arrives.
 */
export const RUN_PIECES_MAX = 4
/**
 * Running leases of one swarm. More would divide the registry's link so far that the first piece is late for everyone.
 * Fewer would leave a registry with slow single streams idle.
 */
export const RUNNING_MAX = 32

/**
 * Shares a cold blob among all askers. Each gets about half of an equal share of the free pieces, in the order of the
 * blob, so that later and faster nodes find work too.
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
 * The first free run from the asker's position on, or else the first of all, at most `runPiecesMax` long. Without a
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
