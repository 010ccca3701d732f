import type { PieceIndex } from '../../core/metainfo.ts'
import type { Bitfield } from '../store/bitfield.ts'

/** Share of the pieces, from the reader's position on, within which the rarest goes first. */
const WINDOW_SHARE = 1 / 8
/**
 * A piece that at most this share of the peers offer comes first, wherever it is. Otherwise the pieces at the end of
 * a blob stay with the node that read them from the registry until all others arrive there and wait for it (1,000
 * nodes in simulation: 1.60 times the limit, 1.3 with it).
 */
const RARE_SHARE = 1 / 10
/** Small blobs have few pieces; a smaller window would leave no choice. */
const WINDOW_PIECES_MIN = 8

/** A piece is rare when at most this many of the peers offer it. May be a fraction. */
export function rareMax(peers: number): number {
  return peers * RARE_SHARE
}

export interface PickView {
  pieceCount: number
  /** First piece that the reader still waits for; undefined when nobody reads (then: pure rarest first). */
  position: number | undefined
  /** Pieces that must not be requested: stored, in flight, or leased to this node. */
  isTaken(piece: PieceIndex): boolean
  /** How many connected peers have the piece. */
  availability: Uint16Array
  /** Number of connected peers. */
  sources: number
  /** In [0, 1); breaks ties between equally rare pieces. */
  random(): number
}

/**
 * Chooses the next piece to request from a peer: a rare one; else the rarest inside a window from the reader's
 * position, or inside the first later window in which the peer offers something. A reader that gets most of a blob at
 * the end finishes late. Pure.
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

/** The available piece that the reader needs first. Pure. */
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
