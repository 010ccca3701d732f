import { PIECE_BUFFERS_BYTES_MAX } from '../store/piece-buffers.ts'
import { LinkRate } from './link-rate.ts'
import { RequestWindow } from './request-window.ts'

/**
 * Pieces of one blob in flight, over all its peers: half of the node's buffers. A node with many peers that may ask
 * few of them finishes last (1,000 nodes in simulation, with 16, 24, 32 and 40 MiB: 1.55, 1.25, 1.18 and 1.17 times
 * the limit).
 */
export const BLOB_IN_FLIGHT_BYTES_MAX = PIECE_BUFFERS_BYTES_MAX / 2
/** Bytes that may be due on a slow link; with fewer there are too few peers to choose from. */
const BLOB_DUE_BYTES_MIN = 4 * 1024 * 1024
/**
 * At most the bytes that arrive in this time may be due. With more, each piece on a slow link is late, from peers
 * that could serve others. With less, peers idle while a swarm begins (1,000 nodes in simulation: 1.20 times the
 * limit in the median with 3 s, 1.18 with 6).
 */
const DUE_MS = 6_000
/** A piece stalls when it takes this many times the mean. */
const STALL_MEAN_TIMES = 4
/** A piece never stalls sooner: a busy machine pauses this long. */
export const STALL_MS_MIN = 250
/** The limit before any piece has been timed. */
const STALL_MS_UNKNOWN = 2_000
/**
 * A piece never stalls before this many times the time that all other due bytes need: this node's own link may be the
 * slow part, and peers that serve others do not share it evenly.
 */
const STALL_OWN_TIMES = 4
/**
 * In the end game a piece is late after the mean time, and after this many times the time that the bytes due from
 * others need. It matters on fast links only.
 */
const LATE_OWN_TIMES = 2
/** A piece is late after this time at the latest. On a link of 64 Mbit/s it is shorter than the other two. */
const LATE_MS_MAX = 300
/** Weight of the newest piece in the mean time. */
const SMOOTHING = 0.2

/**
 * The rate of a blob over all its peers, and its consequences: how many bytes may be requested, and when a piece is
 * late. Pure: the clock is passed in, in ms.
 */
export class Pace {
  /** Bytes of begun pieces, each counted whole, as its buffer is. */
  inFlightBytes = 0
  /** The part of them that has not arrived, requested or not. */
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

  /** A piece has arrived, `tookMs` after its request. */
  finished(tookMs: number): void {
    this.#pieceMeanMs =
      this.#pieceMeanMs === undefined ? tookMs : this.#pieceMeanMs * (1 - SMOOTHING) + tookMs * SMOOTHING
  }

  /** The bound of pieces in flight is reached. */
  get isFull(): boolean {
    return this.inFlightBytes >= BLOB_IN_FLIGHT_BYTES_MAX
  }

  /**
   * Another piece may be begun. Due bytes count whole pieces: counted by requested blocks, a slow link had one or two
   * blocks of each of 28 pieces in flight, completed none in twenty seconds, and its node went to the registry (1.8
   * copies of the blob in simulation). Overdue bytes do not count: slow sources that were asked first would keep all
   * others from being asked.
   * @param isIdle nothing arrives: silent peers must not keep others from being asked
   * @param dueOfLast due bytes of pieces begun in the last `ms`
   */
  hasRoom(isIdle: boolean, dueOfLast: (ms: number) => number): boolean {
    if (this.isFull) return false
    const bytes = isIdle ? undefined : this.#rate.bytesIn(DUE_MS)
    const most = Math.max(BLOB_DUE_BYTES_MIN, bytes ?? BLOB_IN_FLIGHT_BYTES_MAX)
    return this.dueBytes < most || dueOfLast(DUE_MS) < most
  }

  /**
   * Time that a piece may take before it is taken from its source.
   * @param othersBytes due from all other sources: a slow source must not set its own limit
   */
  stallLimitMs(othersBytes: number): number {
    const ownMs = STALL_OWN_TIMES * this.#rate.msFor(othersBytes)
    if (this.#pieceMeanMs === undefined) return Math.max(STALL_MS_UNKNOWN, ownMs)
    return Math.max(STALL_MS_MIN, STALL_MEAN_TIMES * this.#pieceMeanMs, ownMs)
  }

  /**
   * Time in the end game after which a further source is asked for a piece. Infinite while this node's link is full:
   * duplicates would only fill it further (without this, the slowest fiftieth of 1,000 nodes wasted more than a
   * second of their links, a twentieth of the time that they need). Cost: a slow source among many keeps its last
   * pieces until it delivers or stalls (sixteen peers of very different speeds: a tenth more time).
   * @param othersBytes due from all other sources
   */
  lateAfterMs(othersBytes: number, nowMs: number): number {
    // A few bytes may be all that slow peers deliver: they do not show how fast the link is.
    const isLinkKnown = this.#receivedBytes > this.dueBytes
    if (isLinkKnown && this.#link.isFull(nowMs)) return Number.POSITIVE_INFINITY
    const ownMs = LATE_OWN_TIMES * this.#rate.msFor(othersBytes)
    return Math.min(LATE_MS_MAX, Math.max(this.#pieceMeanMs ?? LATE_MS_MAX, ownMs))
  }
}
