import type { BlockAddress } from '../wire/messages.ts'

/** Requests of one peer that have not been answered yet. */
export interface UploadLane {
  readonly queue: BlockAddress[]
  /** The piece being served on this lane, so that it is finished before another begins. */
  piece: number | undefined
  /** How many pieces the other side has announced. */
  piecesHad(): number
  /** The connection takes more bytes now. */
  canWrite(): boolean
  /** What was served has not all arrived, as far as is known: the kernel takes megabytes at once. */
  isSending(): boolean
  /** The connection has taken nothing for a while: it must not keep others from being served. */
  isStalled(): boolean
}

/**
 * A piece that takes so many times what the fastest of late took is held up by the other side's link, which others fill
 * as well: it counts no more, and one more peer is served. Not by a seed: what nobody else has goes out whole and once (with
 * it, at twice the fastest, the only holder of a blob sent 1.28 copies to eight, without it 1.14).
 */
const SLOW_TIMES = 1.3
/** Never sooner: on a fast link all are through by then. */
const SLOW_MS_MIN = 150
/** Before a whole piece went out: the first peers must not keep a place by taking a block now and then. */
const FASTEST_MS_UNKNOWN = 500
/** How much slower the fastest may become from piece to piece. */
const FASTEST_RISE = 1.05

/** The lanes that are in the middle of a piece, and how long pieces take of late. Pure: the clock is passed in, in ms. */
export class UploadSlots {
  /** Since when, and what was sent of the piece. */
  readonly #begun = new Map<UploadLane, { sinceMs: number; bytes: number }>()
  /** How long the fastest whole piece of late was under way. */
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
    // Of a turn that brought a part, or was cancelled, the time says nothing.
    if (!slot || slot.bytes < this.#pieceBytes) return
    this.#fastestMs = Math.min(nowMs - slot.sinceMs, this.#fastestMs * FASTEST_RISE)
  }

  drop(lane: UploadLane): void {
    this.#begun.delete(lane)
  }

  /** How many of them are not held up, or by a patient count have not stalled. */
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
