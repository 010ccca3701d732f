import { PIECE_BUFFERS_BYTES_MAX } from '../store/piece-buffers.ts'
import { LinkRate } from './link-rate.ts'
import { RequestWindow } from './request-window.ts'

/**
 * Pieces of one blob that are under way, over all its peers: half of what the node has buffers for. Whoever has many
 * peers and may ask few of them is last (1,000 nodes in simulation, with 16, 24, 32 and 40 MiB: 1.55, 1.25, 1.18 and 1.17
 * times the limit).
 */
export const BLOB_IN_FLIGHT_BYTES_MAX = PIECE_BUFFERS_BYTES_MAX / 2
/** Due of them on a slow link; with less there would be too few peers to choose from. */
const BLOB_DUE_BYTES_MIN = 4 * 1024 * 1024
/**
 * No more of them is due than comes in so long. A slow link that has asked for much more has each piece late, from
 * peers that could serve others; a shorter time leaves peers idle while a swarm begins (1,000 nodes in simulation: 1.20
 * times the limit in the median with 3 s, 1.18 with 6).
 */
const DUE_MS = 6_000
/** A piece stalls when it takes so many times the mean, and at least so long. */
const STALL_MEAN_TIMES = 4
/** A piece is never taken from its source sooner: a busy machine pauses this long. */
export const STALL_MS_MIN = 250
/** Before any piece has been timed. */
const STALL_MS_UNKNOWN = 2_000
/**
 * Nor sooner than so many times what all that is due from others takes: this node's own link may be what is slow, and
 * peers that serve others do not share it evenly.
 */
const STALL_OWN_TIMES = 4
/**
 * In the end game a piece is late after the mean, and so many times what is due from others takes. It matters on fast
 * links only.
 */
const LATE_OWN_TIMES = 2
/** Or after so long, which is less on a link of 64 Mbit/s. */
const LATE_MS_MAX = 300
/** Weight of the newest piece in their mean time. */
const SMOOTHING = 0.2

/**
 * How fast a blob comes in, over all its peers, and what follows from it: how much is asked for at once, and from when on
 * a piece is late. Pure: the clock is passed in, in ms.
 */
export class Pace {
  /** Pieces that were begun, each whole, as they have their buffers. */
  inFlightBytes = 0
  /** What of them is not here yet, asked for or still to be. */
  dueBytes = 0
  #receivedBytes = 0
  #pieceMeanMs: number | undefined
  readonly #rate: RequestWindow
  readonly #link: LinkRate

  constructor(nowMs: number) {
    this.#rate = new RequestWindow(nowMs)
    this.#link = new LinkRate(nowMs)
  }

  /** Call before requests go out. */
  resume(nowMs: number): void {
    if (this.inFlightBytes > 0) return
    this.#rate.resume(nowMs)
    this.#link.resume(nowMs)
  }

  begun(pieceBytes: number): void {
    this.inFlightBytes += pieceBytes
    this.dueBytes += pieceBytes
  }

  received(bytes: number, nowMs: number): void {
    this.#receivedBytes += bytes
    this.#rate.received(bytes, nowMs)
    this.#link.received(bytes, nowMs)
  }

  /** A piece has come, so long after it was asked for. */
  finished(tookMs: number): void {
    this.#pieceMeanMs =
      this.#pieceMeanMs === undefined ? tookMs : this.#pieceMeanMs * (1 - SMOOTHING) + tookMs * SMOOTHING
  }

  /** As many pieces are under way as may be. */
  get isFull(): boolean {
    return this.inFlightBytes >= BLOB_IN_FLIGHT_BYTES_MAX
  }

  /**
   * Another piece may be begun. What is due is counted of whole pieces: by blocks asked for, a slow link had one or two of
   * each of 28 pieces on their way, no piece was whole in twenty seconds, and its node went to the registry (1.8 copies of
   * the blob in simulation). What should have come by now does not count: slow sources that were asked first would keep all
   * others from being asked.
   * @param isIdle nothing comes: peers that bring nothing must not keep others from being asked
   * @param dueOfLast bytes due of pieces that were begun in the last so many ms
   */
  hasRoom(isIdle: boolean, dueOfLast: (ms: number) => number): boolean {
    if (this.isFull) return false
    const bytes = isIdle ? undefined : this.#rate.bytesIn(DUE_MS)
    const most = Math.max(BLOB_DUE_BYTES_MIN, bytes ?? BLOB_IN_FLIGHT_BYTES_MAX)
    return this.dueBytes < most || dueOfLast(DUE_MS) < most
  }

  /**
   * How long a piece may take before it is taken from its source.
   * @param othersBytes due from all other sources: whoever is slow must not set the time by which it is judged
   */
  stallLimitMs(othersBytes: number): number {
    const ownMs = STALL_OWN_TIMES * this.#rate.msFor(othersBytes)
    if (this.#pieceMeanMs === undefined) return Math.max(STALL_MS_UNKNOWN, ownMs)
    return Math.max(STALL_MS_MIN, STALL_MEAN_TIMES * this.#pieceMeanMs, ownMs)
  }

  /**
   * How long one may take, in the end game, before a further source is asked for it. Endless while this node's link is
   * full: asked twice then, each comes twice, after all else (before this, the last fiftieth of 1,000 nodes wasted more
   * than a second of their links, a twentieth of the time that they need). The price: whoever is slow beside many is asked
   * for its last pieces until it brings them or stalls (sixteen peers of very different speeds: a tenth more time).
   * @param othersBytes due from all other sources
   */
  lateAfterMs(othersBytes: number, nowMs: number): number {
    // What little has come may be all that slow peers bring: it does not say how fast the link is.
    const isLinkKnown = this.#receivedBytes > this.dueBytes
    if (isLinkKnown && this.#link.isFull(nowMs)) return Number.POSITIVE_INFINITY
    const ownMs = LATE_OWN_TIMES * this.#rate.msFor(othersBytes)
    return Math.min(LATE_MS_MAX, Math.max(this.#pieceMeanMs ?? LATE_MS_MAX, ownMs))
  }
}
