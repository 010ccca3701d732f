import { Bitfield } from '../../client/engine/bitfield.ts'
import {
  BLOB_OUTSTANDING_BYTES_MAX,
  STALL_MEAN_TIMES,
  STALL_MS_MIN,
  STALL_MS_UNKNOWN,
} from '../../client/engine/download.ts'
import { type PickView, pickPiece } from '../../client/engine/picker.ts'
import { type UploadLane, UploadQueue } from '../../client/engine/upload-queue.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { NodePlan } from './scenarios.ts'

/** A connection's window (client/engine/request-window.ts) is a megabyte at least: so many pieces at once. */
export const REQUESTS_MAX = BLOB_OUTSTANDING_BYTES_MAX / 2 ** 20
/** Weight of the newest piece in their mean time, as in client/engine/download.ts. */
const SMOOTHING = 0.2

/** One direction of a link between two nodes: at most one piece is asked for at a time. */
export interface Conn {
  readonly from: SimNode
  readonly to: SimNode
  readonly lane: UploadLane
  /** What `to` has asked for; -1 for nothing. */
  piece: number
  askedAtMs: number
  isSnubbed: boolean
  /** The upload slot of `from` that sends it; -1 while it waits. */
  slot: number
  bytesLeft: number
  bytesPerMs: number
  updatedAtMs: number
}

/** A run of pieces that the node fetches from the registry. */
export interface Fetch {
  readonly node: SimNode
  readonly id: number
  /** Undefined for what it fetches unasked. */
  readonly lease: string | undefined
  readonly end: number
  piece: number
  bytesLeft: number
  bytesPerMs: number
  updatedAtMs: number
}

/** A node's share in the simulation: what it has, and what the shipped picker would ask whom for. */
export class SimNode {
  readonly id: number
  readonly plan: NodePlan
  readonly have: Bitfield
  readonly uploads: UploadQueue
  readonly availability: Uint16Array
  /** How often a piece is under way. */
  readonly underWay: Uint8Array
  readonly incoming: Conn[] = []
  readonly outgoing: Conn[] = []
  readonly receiving: Conn[] = []
  readonly sending: (Conn | undefined)[] = []
  readonly fetches: Fetch[] = []
  /** Peers that the tracker named and that have not been tried. */
  known: number[] = []
  requests = 0
  isUp = false
  /** Has been given a lease. */
  isHolder = false
  doneAtMs: number | undefined
  heardAtMs = 0
  askAtMs = 0
  toldToWaitAtMs: number | undefined
  heartbeatAtMs = 0
  pieceMeanMs: number | undefined
  private source: Conn | undefined
  private readonly view: PickView

  constructor(id: number, plan: NodePlan, pieceCount: number, random: () => number) {
    this.id = id
    this.plan = plan
    this.have = new Bitfield(pieceCount)
    this.uploads = new UploadQueue(pieceCount)
    this.availability = new Uint16Array(pieceCount)
    this.underWay = new Uint8Array(pieceCount)
    const isTaken = (piece: PieceIndex) => this.isTaken(piece)
    this.view = { pieceCount, position: 0, isTaken, availability: this.availability, random }
  }

  /** Downloads now. */
  get isWanting(): boolean {
    return this.isUp && this.doneAtMs === undefined
  }

  get flowsIn(): number {
    return this.receiving.length + this.fetches.length
  }

  pick(source: Conn): PieceIndex | undefined {
    this.source = source
    this.view.position = this.have.firstMissing()
    return pickPiece(source.from.have, this.view)
  }

  /** End game: what has been under way the longest, of another source that is late. */
  pickDuplicate(source: Conn, nowMs: number): number | undefined {
    if (source.isSnubbed || !this.isEndGame()) return undefined
    let oldest: Conn | undefined
    for (const conn of this.incoming) {
      if (
        conn.piece < 0 ||
        this.underWay[conn.piece] !== 1 ||
        !source.from.have.has(conn.piece as PieceIndex)
      )
        continue
      if (!oldest || conn.askedAtMs < oldest.askedAtMs) oldest = conn
    }
    if (!oldest || nowMs - oldest.askedAtMs <= (this.pieceMeanMs ?? STALL_MS_MIN)) return undefined
    return oldest.piece
  }

  /** A missing piece that no peer has and that is not under way. */
  lacksPieces(): boolean {
    for (let piece = this.have.firstMissing(); piece < this.have.pieceCount; piece += 1) {
      if (this.availability[piece] === 0 && this.isMissing(piece)) return true
    }
    return false
  }

  isMissing(piece: number): boolean {
    return this.underWay[piece] === 0 && !this.have.has(piece as PieceIndex)
  }

  timed(tookMs: number): void {
    this.pieceMeanMs =
      this.pieceMeanMs === undefined ? tookMs : this.pieceMeanMs * (1 - SMOOTHING) + tookMs * SMOOTHING
  }

  stalled(nowMs: number): Conn[] {
    const mean = this.pieceMeanMs
    const limitMs = mean === undefined ? STALL_MS_UNKNOWN : Math.max(STALL_MS_MIN, STALL_MEAN_TIMES * mean)
    return this.incoming.filter(
      (conn) =>
        conn.piece >= 0 && nowMs - conn.askedAtMs > limitMs && this.isOfferedBySwift(conn.piece, conn, false),
    )
  }

  private isTaken(piece: PieceIndex): boolean {
    if (this.underWay[piece] !== 0 || this.have.has(piece)) return true
    const source = this.source!
    if (!source.isSnubbed && !source.from.have.isFull) return false
    return this.isOfferedBySwift(piece, source, !source.isSnubbed)
  }

  private isOfferedBySwift(piece: number, besides: Conn, isSeedSpared: boolean): boolean {
    for (const conn of this.incoming) {
      if (conn === besides || conn.isSnubbed || (isSeedSpared && conn.from.have.isFull)) continue
      if (conn.from.have.has(piece as PieceIndex)) return true
    }
    return false
  }

  private isEndGame(): boolean {
    for (let piece = this.have.firstMissing(); piece < this.have.pieceCount; piece += 1) {
      if (this.availability[piece]! > 0 && this.isMissing(piece)) return false
    }
    return true
  }
}
