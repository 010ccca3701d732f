import type { PieceLayout } from '../../core/metainfo.ts'
import type { BlockAddress } from '../wire/messages.ts'

/**
 * Peers that a seed serves at the same moment; others wait their turn, so that what nobody else has goes out whole, fast
 * and once. With fewer, its link idles when those that it serves are busy receiving from others.
 */
const SEED_SERVES_AT_ONCE = 4
/** The same of a downloader: others have most of what it has, and what counts is that its link never idles. */
export const SERVED_AT_ONCE_MAX = 8
/** The same of a downloader that has nothing yet; one more for every so many pieces that it has. */
const SERVED_AT_ONCE_MIN = 2
const PIECES_PER_SERVED = 4
/** A peer that waited while so many others were begun with is next, whatever it asks for. */
const PASSED_OVER_MAX = 32

/**
 * How many peers a downloader serves at the same moment. While there is little of a blob in the cluster, a piece that
 * arrives soon is passed on soon: with eight at once from the start 1,000 nodes are busy a second later.
 */
function servedAtOnce(piecesHad: number): number {
  return Math.min(SERVED_AT_ONCE_MAX, SERVED_AT_ONCE_MIN + Math.floor(piecesHad / PIECES_PER_SERVED))
}

/**
 * A piece that takes so many times what the fastest of late took is held up by the other side's link, which others fill
 * as well: it counts no more, and one more peer is served. Not by a seed: what nobody else has goes out whole and once (with
 * it the only holder of a blob sent 1.28 copies to eight, without it 1.14).
 */
const SLOW_TIMES = 2
/** Never sooner: a busy machine pauses this long. */
const SLOW_MS_MIN = 250
/** Before a whole piece went out: the first peers must not keep a place by taking a block now and then. */
const FASTEST_MS_UNKNOWN = 500
/** How much slower the fastest may become from piece to piece. */
const FASTEST_RISE = 1.05

export interface UploadQueueOptions {
  /** This node has all of the blob, or all that it wants. */
  isSeed(): boolean
  /** How much of it this node has. */
  piecesHad(): number
  nowMs(): number
}

const DEFAULTS: UploadQueueOptions = {
  isSeed: () => false,
  piecesHad: () => Number.POSITIVE_INFINITY,
  nowMs: () => 0,
}

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
 * Which request is answered next. A holder of scarce pieces serves first what it has never sent, and piece by piece:
 * this matters more for a cold swarm than anything else (docs/performance.md). Between pieces that were sent it makes
 * no difference how often: who is behind the others asks for those, and would fall back further. Among peers that ask for
 * such, whoever has least comes first: the last one is what a release waits for. Pure.
 */
export class UploadQueue {
  private readonly lanes = new Set<UploadLane>()
  /** Those of them that are in the middle of a piece: since when, and what they were sent of it. */
  private readonly serving = new Map<UploadLane, { sinceMs: number; bytes: number }>()
  /** How long the fastest whole piece of late was under way. */
  private fastestMs = FASTEST_MS_UNKNOWN
  /** 1 for a piece of which anything was sent. */
  private readonly isSent: Uint8Array
  /** How many pieces were begun. */
  private turn = 0
  /** Since which turn a lane waits. */
  private readonly waitingSince = new Map<UploadLane, number>()
  private readonly options: UploadQueueOptions
  private readonly pieceBytes: number

  constructor(
    { pieceCount, pieceBytes }: Pick<PieceLayout, 'pieceCount' | 'pieceBytes'>,
    options: UploadQueueOptions = DEFAULTS,
  ) {
    this.options = options
    this.pieceBytes = pieceBytes
    this.isSent = new Uint8Array(pieceCount)
  }

  add(lane: UploadLane): void {
    this.lanes.add(lane)
  }

  remove(lane: UploadLane): void {
    this.lanes.delete(lane)
    this.serving.delete(lane)
    this.waitingSince.delete(lane)
  }

  /** The next block to send, with its lane; undefined when there is none that could go out now. */
  peek(): { lane: UploadLane; block: BlockAddress } | undefined {
    const lane = this.laneInPiece() ?? this.nextLane()
    const block = lane?.queue.find(({ piece }) => piece === lane.piece)
    return lane && block && { lane, block }
  }

  /** The block of a `peek` is on its way. */
  taken({ lane, block }: { lane: UploadLane; block: BlockAddress }): void {
    lane.queue.splice(lane.queue.indexOf(block), 1)
    this.isSent[block.piece] = 1
    const turn = this.serving.get(lane)
    if (turn) turn.bytes += block.length
    if (!hasMore(lane) && !lane.isSending()) this.finish(lane)
  }

  /** A lane that is in the middle of a piece goes on with it. */
  private laneInPiece(): UploadLane | undefined {
    for (const lane of this.serving.keys()) {
      if (hasMore(lane)) {
        if (lane.canWrite()) return lane
      } else if (!lane.isSending()) this.finish(lane)
    }
    return undefined
  }

  private nextLane(): UploadLane | undefined {
    const { isSeed, piecesHad } = this.options
    const atOnce = isSeed() ? SEED_SERVES_AT_ONCE : servedAtOnce(piecesHad())
    const isFull = this.busy() >= atOnce
    const isAwaited = this.isAwaited()
    if (isAwaited && isFull) return undefined
    let best: { lane: UploadLane; piece: number; rank: number } | undefined
    for (const lane of this.lanes) {
      // With nobody waiting, a lane need not have sent one piece before it begins the next.
      const isFree = lane.piece === undefined || (!hasMore(lane) && (!isAwaited || lane.isStalled()))
      if (!isFree || !lane.canWrite() || lane.queue.length === 0) continue
      const passedOver = this.passedOver(lane)
      const piecesHad = lane.piecesHad()
      for (const { piece } of lane.queue) {
        const sent = this.isSent[piece]! * this.isSent.length + piecesHad
        const rank = passedOver > PASSED_OVER_MAX ? -passedOver : sent
        if (!best || rank < best.rank) best = { lane, piece, rank }
      }
    }
    if (!best) return undefined
    best.lane.piece = best.piece
    this.turn += 1
    this.waitingSince.delete(best.lane)
    this.serving.delete(best.lane)
    this.serving.set(best.lane, { sinceMs: this.options.nowMs(), bytes: 0 })
    // Of equals, whoever waited longest comes first: else the first to connect would have a seed for itself.
    this.lanes.delete(best.lane)
    this.lanes.add(best.lane)
    return best.lane
  }

  private finish(lane: UploadLane): void {
    lane.piece = undefined
    const turn = this.serving.get(lane)
    this.serving.delete(lane)
    // Of a turn that brought a part, or was cancelled, the time says nothing.
    if (!turn || turn.bytes < this.pieceBytes) return
    this.fastestMs = Math.min(this.options.nowMs() - turn.sinceMs, this.fastestMs * FASTEST_RISE)
  }

  private busy(): number {
    const slowMs = this.options.isSeed()
      ? Number.POSITIVE_INFINITY
      : Math.max(SLOW_MS_MIN, this.fastestMs * SLOW_TIMES)
    const slowSinceMs = this.options.nowMs() - slowMs
    let busy = 0
    for (const [lane, { sinceMs }] of this.serving) {
      if (lane.piece === undefined) this.serving.delete(lane)
      else if (sinceMs > slowSinceMs && !lane.isStalled()) busy += 1
    }
    return busy
  }

  /** Somebody who is not being served waits. */
  private isAwaited(): boolean {
    for (const lane of this.lanes) if (lane.piece === undefined && lane.queue.length > 0) return true
    return false
  }

  private passedOver(lane: UploadLane): number {
    const since = this.waitingSince.get(lane)
    if (since === undefined) this.waitingSince.set(lane, this.turn)
    return since === undefined ? 0 : this.turn - since
  }
}

function hasMore(lane: UploadLane): boolean {
  return lane.queue.some(({ piece }) => piece === lane.piece)
}
