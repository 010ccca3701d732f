import type { PieceIndex } from '../../core/metainfo.ts'
import type { Bitfield } from '../store/bitfield.ts'

/** Share of the pieces, from the consumer's position on, inside which the rarest goes first. */
const WINDOW_SHARE = 1 / 8
/**
 * A piece that at most this share of the peers offer comes first, wherever it is: else those at the end of a blob stay
 * with whoever read them from the registry until all others have arrived there, and then all wait for him (1,000 nodes
 * in simulation: 1.60 times the limit, 1.3 with it).
 */
const RARE_SHARE = 1 / 10
/** Small blobs have few pieces; below this there would be nothing to choose from. */
const WINDOW_PIECES_MIN = 8

/** A piece is rare when at most so many of these peers offer it; may be a fraction. */
export function rareMax(peers: number): number {
  return peers * RARE_SHARE
}

export interface PickView {
  pieceCount: number
  /** First piece that the consumer still waits for; undefined when no one is reading (then: pure rarest first). */
  position: number | undefined
  /** Pieces that must not be asked for: had, in flight, or leased to this node. */
  isTaken(piece: PieceIndex): boolean
  /** How many connected peers have the piece. */
  availability: Uint16Array
  /** How many there are. */
  sources: number
  /** In [0, 1); breaks ties between equally rare pieces. */
  random(): number
}

/**
 * Chooses the next piece to ask a peer for: one that hardly anybody offers; else the rarest inside a window from the consumer's position, or in the first
 * window after it in which the peer offers something: a consumer that gets most of a blob at the end is done late. Pure.
 */
export function pickPiece(offered: Bitfield, view: PickView): PieceIndex | undefined {
  if (view.position === undefined) return rarest(offered, view, 0, view.pieceCount)
  const rare = rarest(offered, view, 0, view.pieceCount, rareMax(view.sources))
  if (rare !== undefined) return rare
  const window = Math.max(WINDOW_PIECES_MIN, Math.ceil(view.pieceCount * WINDOW_SHARE))
  for (let from = view.position; from < view.pieceCount; from += window) {
    const found = rarest(offered, view, from, Math.min(view.pieceCount, from + window))
    if (found !== undefined) return found
  }
  return rarest(offered, view, 0, view.position)
}

/** The piece that the consumer needs first, of those that may be asked for. Pure. */
export function nearestPiece(
  offered: Bitfield,
  { pieceCount, position = 0, isTaken }: PickView,
): PieceIndex | undefined {
  for (let offset = 0; offset < pieceCount; offset++) {
    const piece = ((position + offset) % pieceCount) as PieceIndex
    if (offered.has(piece) && !isTaken(piece)) return piece
  }
  return undefined
}

function rarest(
  offered: Bitfield,
  view: PickView,
  from: number,
  to: number,
  availabilityMax: number = Number.POSITIVE_INFINITY,
): PieceIndex | undefined {
  let best: PieceIndex | undefined
  let bestAvailability = availabilityMax
  let ties = 0
  for (let at = from; at < to; at++) {
    const piece = at as PieceIndex
    const availability = view.availability[at]!
    if (availability > bestAvailability || !offered.has(piece) || view.isTaken(piece)) continue
    ties = availability < bestAvailability || best === undefined ? 1 : ties + 1
    bestAvailability = availability
    // Each of n equally rare pieces is chosen with probability 1/n (reservoir sampling).
    if (view.random() * ties < 1) best = piece
  }
  return best
}
