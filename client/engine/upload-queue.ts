import type { PieceIndex, PieceLayout } from '../../core/metainfo.ts'
import type { BlockAddress } from '../wire/messages.ts'
import { rareMax } from './picker.ts'
import { type UploadLane, UploadSlots } from './upload-slots.ts'

/**
 * Peers that a downloader serves at once; others wait for a slot, so that a piece is delivered fast and passed on
 * soon. With fewer slots the link idles while the served peers receive from others.
 */
export const SERVED_AT_ONCE_MAX = 4
/**
 * Slots of a node that has almost nothing, and of a seed that begins: a piece is complete somewhere soon, and passed
 * on.
 */
const SERVED_AT_ONCE_MIN = 1
/** A downloader gets one more slot for each of this many pieces that it has. */
const PIECES_PER_SERVED = 4
/**
 * Slots of a seed. A peer that also receives from others cannot take a piece at the link's speed. (Simulation with
 * one seed, sixteen downloaders and blocks of 128 KiB: 1.26 times the limit with four slots from the start, 1.17 with
 * this.)
 */
const SERVED_BY_SEED_MAX = 6
/** A seed gets one more slot for each of this many turns that ended or stalled since it last had nobody to serve. */
const TURNS_PER_SERVED = 2
/** A waiting peer is next after this many others were served before it, whatever it requests. */
const PASSED_OVER_MAX = 32

export interface UploadQueueOptions {
  /** This node has the whole blob, or every piece that it wants. */
  isSeed(): boolean
  /** Number of pieces that this node has. */
  piecesHad(): number
  /** How many of the connected peers have the piece. */
  holdersOf(piece: PieceIndex): number
  nowMs(): number
  /** In [0, 1). Orders the peers that were never served. */
  random(): number
}

/**
 * Decides which request is answered next. The order matters more for a cold swarm than anything else
 * (docs/performance-fleet.md):
 * - Scarce pieces go first, among these the ones never sent, piece by piece. A piece that was begun for a peer whose
 *   link is full counts as never sent: it must not wait behind pieces that others have as well (10,000 nodes: 1.16
 *   times the limit in the median, 1.18 with those first).
 * - Then other pieces that were never sent. Among the rest the number of copies does not count: a peer that is behind
 *   requests exactly those, and would fall back further.
 * - Within each class the peer with the fewest pieces comes first: a release waits for its last node.
 * - Among equals the peer that waited longest comes first: otherwise the first to connect would keep a seed for
 *   itself. Peers never served come in random order: all nodes know the first to arrive, and would all serve it first
 *   (of 1,000 nodes 180 had a piece after two seconds, 629 in random order).
 * Pure, apart from its randomness.
 */
export class UploadQueue {
  /** With the turn in which each was served last. Lanes never served come first, in random order. */
  readonly #lanes = new Map<UploadLane, number>()
  /** Lanes in the middle of a piece. */
  readonly #slots: UploadSlots
  /** 1 for a piece of which a block was sent. */
  readonly #isSent: Uint8Array
  /** Number of pieces begun. */
  #turn = 0
  /** Value of `#turn` when nobody was served or waiting. */
  #idleAtTurn = 0
  /** The turn since which a lane waits. */
  readonly #waitingSince = new Map<UploadLane, number>()
  readonly #options: UploadQueueOptions

  constructor(
    { pieceCount, pieceBytes }: Pick<PieceLayout, 'pieceCount' | 'pieceBytes'>,
    options: UploadQueueOptions,
  ) {
    this.#options = options
    this.#slots = new UploadSlots(pieceBytes)
    this.#isSent = new Uint8Array(pieceCount)
  }

  add(lane: UploadLane): void {
    this.#lanes.set(lane, -this.#options.random())
  }

  remove(lane: UploadLane): void {
    this.#lanes.delete(lane)
    this.#slots.drop(lane)
    this.#waitingSince.delete(lane)
  }

  /** The next block to send, with its lane; undefined when none can go out now. */
  peek(): { lane: UploadLane; block: BlockAddress } | undefined {
    const lane = this.#laneInPiece() ?? this.#nextLane()
    const block = lane?.queue.find(({ piece }) => piece === lane.piece)
    return lane && block && { lane, block }
  }

  /** The block of a `peek` was given to its connection. */
  taken({ lane, block }: { lane: UploadLane; block: BlockAddress }): void {
    lane.queue.splice(lane.queue.indexOf(block), 1)
    this.#isSent[block.piece] = 1
    this.#slots.sent(lane, block.length)
    if (!hasMore(lane) && !lane.isSending()) this.#finish(lane)
  }

  /** A lane in the middle of a piece continues with it. */
  #laneInPiece(): UploadLane | undefined {
    for (const lane of this.#slots.lanes()) {
      if (hasMore(lane)) {
        if (lane.canWrite()) return lane
      } else if (!lane.isSending()) this.#finish(lane)
    }
    return undefined
  }

  #nextLane(): UploadLane | undefined {
    const isFull = this.#options.isSeed() ? this.#isSeedFull() : this.#isDownloaderFull()
    const isAwaited = this.#isAwaited()
    if (isAwaited && isFull) return undefined
    let best: { lane: UploadLane; piece: number; rank: number; servedAt: number } | undefined
    for (const [lane, servedAt] of this.#lanes) {
      // With nobody else waiting, a lane may begin the next piece before the current one has left.
      const isFree = lane.piece === undefined || (!hasMore(lane) && (!isAwaited || lane.isStalled()))
      // A peer that cancelled its requests no longer waits.
      if (lane.queue.length === 0) this.#waitingSince.delete(lane)
      if (!isFree || !lane.canWrite() || lane.queue.length === 0) continue
      const passedOver = this.#passedOver(lane)
      const piecesHad = lane.piecesHad()
      for (const { piece } of lane.queue) {
        const need = this.#tierOf(piece) * this.#isSent.length + piecesHad
        const rank = passedOver > PASSED_OVER_MAX ? -passedOver : need
        if (best && (rank > best.rank || (rank === best.rank && servedAt >= best.servedAt))) continue
        best = { lane, piece, rank, servedAt }
      }
    }
    if (!best) {
      if (!this.#hasWork()) this.#idleAtTurn = this.#turn
      return undefined
    }
    best.lane.piece = best.piece
    this.#turn += 1
    this.#waitingSince.delete(best.lane)
    this.#slots.begin(best.lane, this.#options.nowMs())
    this.#lanes.set(best.lane, this.#turn)
    return best.lane
  }

  #isDownloaderFull(): boolean {
    const atOnce = atOnceOf(this.#options.piecesHad(), { each: PIECES_PER_SERVED, max: SERVED_AT_ONCE_MAX })
    return this.#slots.busy({ nowMs: this.#options.nowMs(), isPatient: false }) >= atOnce
  }

  #isSeedFull(): boolean {
    const nowMs = this.#options.nowMs()
    const busy = this.#slots.busy({ nowMs, isPatient: true })
    const over = this.#turn - this.#idleAtTurn - busy
    const atOnce = atOnceOf(over, { each: TURNS_PER_SERVED, max: SERVED_BY_SEED_MAX })
    // With few slots, a slow peer must not keep all others waiting.
    return (busy < SERVED_AT_ONCE_MAX ? this.#slots.busy({ nowMs, isPatient: false }) : busy) >= atOnce
  }

  /**
   * 0 and 1: scarce, never sent or sent before; 2 and 3: the same for other pieces. With a few peers no piece counts
   * as scarce: it would be one that is on its way to one of them.
   */
  #tierOf(piece: number): number {
    const fewMax = rareMax(this.#lanes.size)
    const isScarce = fewMax >= 1 && this.#options.holdersOf(piece as PieceIndex) <= fewMax
    return (isScarce ? 0 : 2) + this.#isSent[piece]!
  }

  #finish(lane: UploadLane): void {
    lane.piece = undefined
    this.#slots.end(lane, this.#options.nowMs())
  }

  #hasWork(): boolean {
    for (const { piece, queue } of this.#lanes.keys())
      if (piece !== undefined || queue.length > 0) return true
    return false
  }

  /** A lane waits that is not being served. */
  #isAwaited(): boolean {
    for (const lane of this.#lanes.keys()) if (lane.piece === undefined && lane.queue.length > 0) return true
    return false
  }

  #passedOver(lane: UploadLane): number {
    const since = this.#waitingSince.get(lane)
    if (since === undefined) this.#waitingSince.set(lane, this.#turn)
    return since === undefined ? 0 : this.#turn - since
  }
}

function hasMore(lane: UploadLane): boolean {
  return lane.queue.some(({ piece }) => piece === lane.piece)
}

/** Number of peers served at once: one more for each `each` of `done`. */
function atOnceOf(done: number, { each, max }: { each: number; max: number }): number {
  return Math.min(max, SERVED_AT_ONCE_MIN + Math.floor(done / each))
}
