import type { PieceRun } from '../handout/leases.ts'

/** A piece that was leased again is leased to nobody else for so long: it is being fetched, and then it spreads. */
const REFETCH_MS = 5_000

/**
 * Published pieces that are fetched once more, because their holders are gone before anybody had them from them: without
 * it, all that lack such a piece would fetch it for themselves. Not stored. Pure.
 */
export class Refetches {
  /** Until when a piece is left alone; in the order of these times. */
  readonly #untilMs = new Map<number, number>()

  /** The asker has waited for the piece in vain, and nobody was sent for it lately. */
  isDue(piece: number, { awaited, nowMs }: { awaited: readonly PieceRun[]; nowMs: number }): boolean {
    return !this.#isLeftAlone(piece, nowMs) && isAmong(piece, awaited)
  }

  /** How long the first of these pieces is left alone; undefined when none is. */
  endInMs(awaited: readonly PieceRun[], nowMs: number): number | undefined {
    for (const [piece, untilMs] of this.#untilMs)
      if (untilMs > nowMs && isAmong(piece, awaited)) return untilMs - nowMs
    return undefined
  }

  begin(
    { firstPiece, pieces }: PieceRun,
    { nowMs, isPublished }: { nowMs: number; isPublished(piece: number): boolean },
  ): void {
    for (const [piece, untilMs] of this.#untilMs) {
      if (untilMs > nowMs) break
      this.#untilMs.delete(piece)
    }
    for (let piece = firstPiece; piece < firstPiece + pieces; piece += 1) {
      if (!isPublished(piece)) continue
      this.#untilMs.delete(piece)
      this.#untilMs.set(piece, nowMs + REFETCH_MS)
    }
  }

  #isLeftAlone(piece: number, nowMs: number): boolean {
    return (this.#untilMs.get(piece) ?? nowMs) > nowMs
  }
}

function isAmong(piece: number, runs: readonly PieceRun[]): boolean {
  return runs.some(({ firstPiece, pieces }) => piece >= firstPiece && piece < firstPiece + pieces)
}
