import type { PieceIndex, PieceLayout } from '../../core/metainfo.ts'
import { AWAITED_RUNS_MAX } from '../../core/tracker-api.ts'
import type { Bitfield } from '../store/bitfield.ts'

/** Pieces of one fetch without a lease. After it, the node checks whether the swarm is back. */
export const FALLBACK_PIECES_MAX = 16

/** A fetch without a lease gives up its rest when peers have delivered this many pieces more than it: the swarm is back. */
export const PEERS_BACK_PIECES = 2

/** Pieces from `first` to before `end`. */
export interface MissingRun {
  first: number
  end: number
}

/** The node's view when its swarm gives it nothing. */
export interface FallbackView {
  readonly layout: PieceLayout
  readonly have: Bitfield
  /** First piece that a reader waits for. */
  position(): number
  /** Rank of this node among the active downloaders that it knows; `at` is below `of`. */
  place(): { at: number; of: number }
  /** A reader needs the piece, or may go on to it. */
  isNeeded(piece: PieceIndex): boolean
  /** It is needed, no source offers it and none is delivering it. */
  isOutOfReach(piece: PieceIndex): boolean
}

/**
 * Chooses the pieces to fetch from the registry when the swarm gives nothing: from the reader's position on, pieces
 * out of reach first, and those before it last. Other nodes that lost the same source do the same at the same moment, so each node begins with
 * a share of its own and gets the other shares from its peers.
 * @returns undefined when no needed piece is missing
 */
export function fallbackRun(view: FallbackView): MissingRun | undefined {
  const missing = missingPieces(view)
  const outOfReach = missing.filter((piece) => view.isOutOfReach(piece))
  const wanted = outOfReach.length > 0 ? outOfReach : missing
  const { at, of } = view.place()
  const share = Math.ceil(wanted.length / of)
  const from = wanted.length > 0 ? (at * share) % wanted.length : 0
  const [first, ...others] = wanted.slice(from, from + Math.min(share, FALLBACK_PIECES_MAX))
  if (first === undefined) return undefined
  const gap = others.findIndex((piece, index) => piece !== first + 1 + index)
  return { first, end: first + 1 + (gap === -1 ? others.length : gap) }
}

/** Some missing piece is out of reach: no peer offers it, and it is not in flight. */
export function lacksPieces(view: FallbackView): boolean {
  const { have, layout } = view
  for (let piece = have.firstMissing(); piece < layout.pieceCount; piece = have.firstMissing(piece + 1)) {
    if (view.isOutOfReach(piece as PieceIndex)) return true
  }
  return false
}

/** All pieces out of reach, as runs, at most AWAITED_RUNS_MAX. */
export function outOfReachRuns(view: FallbackView): { firstPiece: number; pieces: number }[] {
  const { have, layout } = view
  const runs: { firstPiece: number; pieces: number }[] = []
  for (let piece = have.firstMissing(); piece < layout.pieceCount; piece = have.firstMissing(piece + 1)) {
    if (!view.isOutOfReach(piece as PieceIndex)) continue
    const last = runs.at(-1)
    if (last && last.firstPiece + last.pieces === piece) last.pieces += 1
    else if (runs.length === AWAITED_RUNS_MAX) break
    else runs.push({ firstPiece: piece, pieces: 1 })
  }
  return runs
}

/** From the reader's position on, and then those before it: its last byte waits until the whole blob is here. */
function missingPieces(view: FallbackView): PieceIndex[] {
  const { layout } = view
  const position = view.position()
  return [...missingIn(view, position, layout.pieceCount), ...missingIn(view, 0, position)]
}

function* missingIn(view: FallbackView, from: number, to: number): Generator<PieceIndex> {
  const { have } = view
  for (let piece = have.firstMissing(from); piece < to; piece = have.firstMissing(piece + 1))
    if (view.isNeeded(piece as PieceIndex)) yield piece as PieceIndex
}
