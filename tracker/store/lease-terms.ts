/** How a lease goes: another tracker decides about it with the same knowledge. */
export interface LeaseTerms {
  sinceMs: number
  /** Of its last new piece. */
  movedAtMs: number
  /** New pieces that its holder published. */
  pieces: number
  /** Its first publication: what came before says how a request begins, not how fast pieces follow. */
  begun?: { atMs: number; pieces: number }
  /** The end of what its holder has requested from the registry, as far as its publications bear that out. */
  requestedTo: number
  /** The end of what its holder says that it requested: others get this only when nothing else is left. */
  claimedTo?: number
  /** The end that the holder was told first. What it requested beyond a later end is accepted. */
  grantedTo: number
  firstPieces: number
  isReader: boolean
  /** Another node fetches what it had requested beyond its end. */
  isLate?: boolean
}

/** The end of what its holder has requested, by its own word. */
export function claimedEnd({ claimedTo, requestedTo }: LeaseTerms): number {
  return claimedTo ?? requestedTo
}

/** Pieces that are leased together, with what their holder requests at once; absent: all of them. */
interface LeasedRun {
  firstPiece: number
  pieces: number
  firstPieces?: number
  isReader?: boolean
}

/** The terms of a new lease. */
export function termsOf(run: LeasedRun, sinceMs: number): LeaseTerms {
  const { firstPieces = run.pieces, isReader = false } = run
  const requestedTo = run.firstPiece + firstPieces
  return { sinceMs, movedAtMs: sinceMs, pieces: 0, requestedTo, grantedTo: endOf(run), firstPieces, isReader }
}

/** The piece behind the run. */
export function endOf({ firstPiece, pieces }: Pick<LeasedRun, 'firstPiece' | 'pieces'>): number {
  return firstPiece + pieces
}
