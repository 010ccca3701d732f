import type { PieceIndex } from '../../core/metainfo.ts'
import { IDLE_MS } from './end-game.ts'
import type { Pace } from './pace.ts'
import type { Assembly, Source } from './source.ts'
import type { Sources } from './sources.ts'

/** No more than this of what is cancelled is on its way from one source: what the client gives to one socket. */
const CANCELLED_BYTES_MAX = 1024 * 1024
/** A source that was too slow is asked again after so long: it may have been busy with others. */
export const SNUBBED_MS = 5_000

/**
 * Whether what was asked for comes: how long nothing has, what sources owe, and who is too slow. What follows from that
 * is the download's to do. Pure: the clock is passed in, in ms.
 */
export class Stalls {
  readonly #sources: Sources
  readonly #pace: Pace
  #movedAtMs = Number.NEGATIVE_INFINITY

  constructor(sources: Sources, pace: Pace) {
    this.#sources = sources
    this.#pace = pace
  }

  /** A block came, or some peer has what none had had. */
  moved(nowMs: number): void {
    this.#movedAtMs = nowMs
  }

  /** How long nothing has moved, in ms. */
  idleMs(nowMs: number): number {
    return nowMs - this.#movedAtMs
  }

  /** The same, but 0 while a block is coming, unless that one takes too long. */
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

  /** What all other sources owe. */
  othersDueBytes(source: Source, nowMs: number): number {
    return this.#dueBytes(nowMs) - dueBytesOf(source, nowMs)
  }

  /**
   * What takes too long where another source offers it. One by one: a source that is snubbed for the first is no
   * alternative for the next.
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

/** What is not here yet of pieces that were begun after that moment, in bytes. */
export function dueSince(inFlight: ReadonlyMap<PieceIndex, readonly Assembly[]>, sinceMs: number): number {
  let bytes = 0
  for (const assemblies of inFlight.values())
    for (const { startedAtMs, length, receivedBytes } of assemblies)
      if (startedAtMs > sinceMs) bytes += length - receivedBytes
  return bytes
}

/** What a source owes. What is cancelled comes all the same when it was on its way, and all else after it. */
function dueBytesOf({ outstandingBytes, cancelled, cancelledAtMs, limits }: Source, nowMs: number): number {
  if (cancelledAtMs <= nowMs - SNUBBED_MS) return outstandingBytes
  return outstandingBytes + Math.min(cancelled.size * limits.blockBytes, CANCELLED_BYTES_MAX)
}
