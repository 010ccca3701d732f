import type { PieceIndex } from '../../core/metainfo.ts'
import { IDLE_MS } from './end-game.ts'
import type { Pace } from './pace.ts'
import type { Assembly, Source } from './source.ts'
import type { Sources } from './sources.ts'

/** Cancelled bytes that may still arrive from one source: as much as a peer puts into one socket. */
const CANCELLED_BYTES_MAX = 1024 * 1024
/** A snubbed source is asked again after this time: it may have been busy with others. */
export const SNUBBED_MS = 5_000

/**
 * Tells how long nothing has arrived, how much each source owes, and which pieces stall. The download decides what
 * follows. Pure: the clock is passed in, in ms.
 */
export class Stalls {
  readonly #sources: Sources
  readonly #pace: Pace
  #movedAtMs = Number.NEGATIVE_INFINITY

  constructor(sources: Sources, pace: Pace) {
    this.#sources = sources
    this.#pace = pace
  }

  /** A block arrived, or a peer announced a piece that none had offered. */
  moved(nowMs: number): void {
    this.#movedAtMs = nowMs
  }

  /** Time since the last progress, in ms. */
  idleMs(nowMs: number): number {
    return nowMs - this.#movedAtMs
  }

  /** The same, but 0 while a block is arriving, unless that block takes too long. */
  standstillMs(nowMs: number): number {
    const idleMs = this.idleMs(nowMs)
    if (idleMs >= IDLE_MS)
      for (const { arriving } of this.#sources)
        if (arriving && arriving.sinceMs > nowMs - SNUBBED_MS) return 0
    return idleMs
  }

  isIdle(nowMs: number): boolean {
    return this.standstillMs(nowMs) >= IDLE_MS
  }

  /** Bytes that all other sources owe. */
  othersDueBytes(source: Source, nowMs: number): number {
    return this.#dueBytes(nowMs) - dueBytesOf(source, nowMs)
  }

  /**
   * Pieces that take too long and that another source offers. A generator, so that a source snubbed for one piece is
   * no alternative for the next.
   */
  *stalled(inFlight: ReadonlyMap<PieceIndex, readonly Assembly[]>, nowMs: number): Generator<Assembly> {
    const leastMs = this.#pace.stallLimitMs(0)
    const old = [...inFlight.values()].flat().filter(({ startedAtMs }) => nowMs - startedAtMs > leastMs)
    if (old.length === 0) return
    const dueBytes = this.#dueBytes(nowMs)
    for (const assembly of old) {
      const { source, startedAtMs, piece } = assembly
      const limitMs = this.#pace.stallLimitMs(dueBytes - dueBytesOf(source, nowMs))
      if (nowMs - startedAtMs > limitMs && this.#sources.hasAlternative(piece, source)) yield assembly
    }
  }

  #dueBytes(nowMs: number): number {
    let bytes = 0
    for (const source of this.#sources) bytes += dueBytesOf(source, nowMs)
    return bytes
  }
}

/** Bytes that have not arrived of pieces begun after that moment. */
export function dueSince(inFlight: ReadonlyMap<PieceIndex, readonly Assembly[]>, sinceMs: number): number {
  let bytes = 0
  for (const assemblies of inFlight.values())
    for (const { startedAtMs, length, receivedBytes } of assemblies)
      if (startedAtMs > sinceMs) bytes += length - receivedBytes
  return bytes
}

/** Bytes that a source owes. Cancelled blocks that were already sent still arrive, and delay all others. */
function dueBytesOf({ outstandingBytes, cancelled, cancelledAtMs, limits }: Source, nowMs: number): number {
  if (cancelledAtMs <= nowMs - SNUBBED_MS) return outstandingBytes
  return outstandingBytes + Math.min(cancelled.size * limits.blockBytes, CANCELLED_BYTES_MAX)
}
