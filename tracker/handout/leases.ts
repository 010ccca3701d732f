/**
 * Decides which pieces an asker may fetch from the registry. Pure: no clock, no store. A policy sees the swarm from the
 * asker's side, and answers with a run of pieces or with nothing.
 */

export interface LeaseQuestion {
  pieceCount: number
  pieceBytes: number
  /** The first missing piece from the asker's reader on. */
  position: number
  /** True for pieces without a hash, or that did not arrive, if this asker may fetch them. */
  isOpen(piece: number): boolean
  /** The same, if nobody else is fetching them. */
  isFree(piece: number): boolean
  /** What other nodes hold and have not requested from the registry yet: open pieces, run by run. */
  unrequested: readonly PieceRun[]
  /** What late holders have requested and will not deliver soon (late-holders.ts). */
  late: readonly PieceRun[]
  /** Other nodes that hold a lease of the swarm. */
  holders: number
  /** Running leases of readers from the start. */
  readers: number
}

/** Pieces [firstPiece, firstPiece + pieces). */
export interface PieceRun {
  firstPiece: number
  pieces: number
}

/** What an asker gets. */
export interface LeaseRun extends PieceRun {
  /** It requests so many of them at once, and says when it requests more. Absent: all of them. */
  firstPieces?: number
  /** For a registry without Range: the holder reads all of it, from the start. */
  isReader?: boolean
  /** Its present holder is late: whatever it has requested, its lease ends where this begins. */
  isLate?: boolean
}

export type LeasePolicy = (question: LeaseQuestion) => LeaseRun | undefined

/** Bound of one lease: 4 GiB with the largest pieces. What a lease leaves is free for the next asker. */
export const LEASE_PIECES_MAX = 1024
/**
 * Nodes that hold leases of one swarm. More would divide the registry's link so far that the first piece is late for
 * everyone. Fewer would leave a registry with slow single streams idle.
 */
export const HOLDERS_MAX = 32
/** What a holder requests at once: its first two requests. A smaller blob is one lease, and one request. */
export const FIRST_BYTES = 4 * 1024 * 1024
/** A holder keeps an unrequested run that is shorter: its half would hardly be worth a request of its own. */
export const SPLIT_BYTES_MIN = 2 * 1024 * 1024

/**
 * Shares a cold blob among all askers, in few requests. The first asker gets the whole free run. Each that comes later gets
 * the far half of the longest run that nobody has requested yet, so that no request is aborted to share it.
 */
export function farHalf({ holdersMax = HOLDERS_MAX }: { holdersMax?: number } = {}): LeasePolicy {
  return (question) => {
    const { pieceBytes, unrequested, late, holders } = question
    const fresh =
      holders >= holdersMax
        ? undefined
        : (firstFreeRun(LEASE_PIECES_MAX)(question) ?? farHalfOf(unrequested, pieceBytes))
    const run = fresh ?? lateRunOf(late)
    const firstPieces = Math.max(2, Math.ceil(FIRST_BYTES / pieceBytes))
    return run && { ...run, firstPieces: Math.min(run.pieces, firstPieces) }
  }
}

function lateRunOf(runs: readonly PieceRun[]): LeaseRun | undefined {
  const longest = longestOf(runs)
  return longest && { ...longest, isLate: true }
}

/**
 * For pieces that are published already: a run ends with what its holder requests at once. Their hashes are known, so that
 * nobody sees from publications how far a holder is.
 */
export function onlyFirstPieces(policy: LeasePolicy): LeasePolicy {
  return (question) => {
    const run = policy(question)
    return run && { ...run, pieces: run.firstPieces ?? run.pieces }
  }
}

/** The runs of pieces in [from, to) for which `isIn` holds. */
export function* runsOf(from: number, to: number, isIn: (piece: number) => boolean): Generator<PieceRun> {
  for (let first = from; first < to; first += 1) {
    let end = first
    while (end < to && isIn(end)) end += 1
    if (end > first) yield { firstPiece: first, pieces: end - first }
    first = end
  }
}

function farHalfOf(runs: readonly PieceRun[], pieceBytes: number): PieceRun | undefined {
  const longest = longestOf(runs)
  if (longest === undefined || longest.pieces < 2 || longest.pieces * pieceBytes < SPLIT_BYTES_MIN)
    return undefined
  const pieces = Math.floor(longest.pieces / 2)
  return { firstPiece: longest.firstPiece + longest.pieces - pieces, pieces }
}

function longestOf(runs: readonly PieceRun[]): PieceRun | undefined {
  let longest: PieceRun | undefined
  for (const run of runs) if (run.pieces > (longest?.pieces ?? 0)) longest = run
  return longest
}

/**
 * For a registry without Range: one reader at a time, from the first missing piece to the end. Leases of ranges do not keep
 * it waiting: their holders are about to find out the same, and two of them would wait for each other.
 */
export const oneReader: LeasePolicy = ({ readers, pieceCount, isOpen }) => {
  if (readers > 0) return undefined
  const run = firstFreeRun()({ pieceCount, position: 0, isFree: isOpen })
  return run && { ...run, isReader: true }
}

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
