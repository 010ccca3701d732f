import type { BlockAddress } from '../wire/messages.ts'

/** One peer's unanswered requests. */
export interface UploadLane {
  readonly queue: BlockAddress[]
  /** The piece being served. It is finished before another begins. */
  piece: number | undefined
  /** How many pieces the other side has announced. */
  piecesHad(): number
  /** The connection accepts more bytes now. */
  canWrite(): boolean
  /** Served bytes have not all arrived, as far as this node knows: the kernel accepts megabytes at once. */
  isSending(): boolean
  /** The connection has accepted nothing for a while. It must not keep others from being served. */
  isStalled(): boolean
}

/**
 * A piece that takes this many times the fastest recent one is held up by the other side's link. It no longer counts,
 * and one more peer is served. A seed does not do this: pieces that nobody else has go out whole and once (at twice
 * the fastest, the only holder of a blob sent 1.28 copies to eight nodes, 1.14 without).
 */
const SLOW_TIMES = 1.3
/** A piece is never held up sooner: on a fast link all are finished by then. */
const SLOW_MS_MIN = 150
/**
 * The limit before a whole piece went out: the first peers must not keep a slot by accepting a block now and then.
 */
const FASTEST_MS_UNKNOWN = 500
/** Factor by which the fastest time may grow from piece to piece. */
const FASTEST_RISE = 1.05

/** The lanes in the middle of a piece, and how long pieces take. Pure: the clock is passed in, in ms. */
export class UploadSlots {
  /** When each began, and the bytes sent of its piece. */
  readonly #begun = new Map<UploadLane, { sinceMs: number; bytes: number }>()
  /** Time of the fastest recent whole piece. */
  #fastestMs = FASTEST_MS_UNKNOWN
  readonly #pieceBytes: number

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes
  }

  /** In the order in which they began. */
  lanes(): Iterable<UploadLane> {
    return this.#begun.keys()
  }

  begin(lane: UploadLane, nowMs: number): void {
    this.#begun.delete(lane)
    this.#begun.set(lane, { sinceMs: nowMs, bytes: 0 })
  }

  sent(lane: UploadLane, bytes: number): void {
    const slot = this.#begun.get(lane)
    if (slot) slot.bytes += bytes
  }

  end(lane: UploadLane, nowMs: number): void {
    const slot = this.#begun.get(lane)
    this.#begun.delete(lane)
    // A turn that sent only a part of a piece, or was cancelled, says nothing about time.
    if (!slot || slot.bytes < this.#pieceBytes) return
    this.#fastestMs = Math.min(nowMs - slot.sinceMs, this.#fastestMs * FASTEST_RISE)
  }

  drop(lane: UploadLane): void {
    this.#begun.delete(lane)
  }

  /** Number of lanes that are not held up; with `isPatient`, of lanes that have not stalled. */
  busy({ nowMs, isPatient }: { nowMs: number; isPatient: boolean }): number {
    const slowMs = isPatient ? Number.POSITIVE_INFINITY : Math.max(SLOW_MS_MIN, this.#fastestMs * SLOW_TIMES)
    let busy = 0
    for (const [lane, { sinceMs }] of this.#begun) {
      if (lane.piece === undefined) this.#begun.delete(lane)
      else if (nowMs - sinceMs < slowMs && !lane.isStalled()) busy += 1
    }
    return busy
  }
}
