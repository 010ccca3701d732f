import type { PieceIndex, PieceLayout } from '../core/metainfo.ts'
import { AWAITED_RUNS_MAX } from '../core/tracker-api.ts'
import type { Bitfield } from './engine/bitfield.ts'

/** Pieces of one such fetch; then it looks whether the swarm has come back. */
export const ALONE_PIECES_MAX = 16

/** What a node knows when its swarm gives it nothing. */
export interface AloneView {
  readonly layout: PieceLayout
  readonly have: Bitfield
  /** First piece that a reader waits for. */
  position(): number
  /** Where this node stands among the downloaders at work that it knows of; `at` is below `of`. */
  place(): { at: number; of: number }
  /** No source offers it and none is delivering it. */
  isOutOfReach(piece: PieceIndex): boolean
}

/**
 * What a node that its swarm gives nothing fetches next from the registry: from the reader's position on, and first what
 * nobody offers. Others that lost the same source do the same at the same moment, so each begins with a share of its own
 * and gets theirs from them.
 * @returns pieces from `first` to before `end`; undefined when none is missing from the reader's position on
 */
export function aloneRun(view: AloneView): { first: number; end: number } | undefined {
  const missing = missingPieces(view)
  const outOfReach = missing.filter((piece) => view.isOutOfReach(piece))
  const wanted = outOfReach.length > 0 ? outOfReach : missing
  const { at, of } = view.place()
  const share = Math.ceil(wanted.length / of)
  const from = wanted.length > 0 ? (at * share) % wanted.length : 0
  const [first, ...others] = wanted.slice(from, from + Math.min(share, ALONE_PIECES_MAX))
  if (first === undefined) return undefined
  const gap = others.findIndex((piece, index) => piece !== first + 1 + index)
  return { first, end: first + 1 + (gap === -1 ? others.length : gap) }
}

/** Some missing piece is out of reach: of no peer, and not under way. */
export function lacksPieces(view: AloneView): boolean {
  const { have, layout } = view
  for (let piece = have.firstMissing(); piece < layout.pieceCount; piece = have.firstMissing(piece + 1)) {
    if (view.isOutOfReach(piece as PieceIndex)) return true
  }
  return false
}

/** All such pieces, in runs, at most AWAITED_RUNS_MAX: what the tracker is told when the swarm gives nothing. */
export function outOfReachRuns(view: AloneView): { firstPiece: number; pieces: number }[] {
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

function missingPieces(view: AloneView): PieceIndex[] {
  const { have, layout } = view
  const pieces: PieceIndex[] = []
  for (
    let piece = have.firstMissing(view.position());
    piece < layout.pieceCount;
    piece = have.firstMissing(piece + 1)
  ) {
    pieces.push(piece as PieceIndex)
  }
  return pieces
}
