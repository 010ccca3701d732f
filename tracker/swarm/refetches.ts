import type { PieceRun } from '../handout/leases.ts'
import type { LeaseRecord } from '../store/store.ts'

/**
 * Published pieces that are fetched once more, because their holders left before anybody got them. Without this, every node
 * that lacks such a piece would fetch it alone. A piece that was leased again goes to nobody else for the time of a lease,
 * unless its holder gives it back: it is being fetched, and then it spreads. Not stored. Pure.
 */
export class Refetches {
  /** In the order in which they end. */
  readonly #marks = new Map<number, { untilMs: number; lease: string; hasArrived: boolean }>()

  /** Whether the asker waited for the piece without success, and nobody was sent for it lately. */
  isDue(piece: number, { awaited, nowMs }: { awaited: readonly PieceRun[]; nowMs: number }): boolean {
    return (this.#marks.get(piece)?.untilMs ?? 0) <= nowMs && isAmong(piece, awaited)
  }

  /** Whether the piece had a hash when it was leased: such a lease does not let its holder replace the hash. */
  isRefetch(piece: number, lease: string | null): boolean {
    return lease !== null && this.#marks.get(piece)?.lease === lease
  }

  /** Time until the first of these pieces may be leased again; undefined if none is being fetched. */
  endInMs(awaited: readonly PieceRun[], nowMs: number): number | undefined {
    for (const [piece, { untilMs }] of this.#marks)
      if (untilMs > nowMs && isAmong(piece, awaited)) return untilMs - nowMs
    return undefined
  }

  begin(
    { lease, firstPiece, pieces, expiresAtMs: untilMs }: LeaseRecord,
    { nowMs, isPublished }: { nowMs: number; isPublished(piece: number): boolean },
  ): void {
    for (const [piece, mark] of this.#marks) {
      if (mark.untilMs > nowMs) break
      this.#marks.delete(piece)
    }
    for (let piece = firstPiece; piece < firstPiece + pieces; piece += 1) {
      if (!isPublished(piece)) continue
      this.#marks.delete(piece)
      this.#marks.set(piece, { untilMs, lease, hasArrived: false })
    }
  }

  /** The holder has the piece. It goes to nobody else all the same: now it spreads. */
  arrived(piece: number, lease: string | null): void {
    const mark = this.#marks.get(piece)
    if (mark !== undefined && mark.lease === lease) mark.hasArrived = true
  }

  /** Whether the lease's holder still fetches the piece. */
  isFetching(piece: number, lease: string | null): boolean {
    return this.isRefetch(piece, lease) && this.#marks.get(piece)?.hasArrived === false
  }

  /** The node that was sent has given up. */
  release(lease: string): void {
    for (const [piece, mark] of this.#marks) if (mark.lease === lease) this.#marks.delete(piece)
  }
}

function isAmong(piece: number, runs: readonly PieceRun[]): boolean {
  return runs.some(({ firstPiece, pieces }) => piece >= firstPiece && piece < firstPiece + pieces)
}
