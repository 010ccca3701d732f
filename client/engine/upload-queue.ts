import type { PieceIndex, PieceLayout } from '../../core/metainfo.ts'
import type { BlockAddress } from '../wire/messages.ts'
import { rareMax } from './picker.ts'
import { type UploadLane, UploadSlots } from './upload-slots.ts'

/**
 * Peers that a downloader serves at the same moment; others wait their turn, so that a piece goes out fast and is passed on
 * soon. With fewer, the link idles when those that are served are busy receiving from others.
 */
export const SERVED_AT_ONCE_MAX = 4
/** Of one that has next to nothing, and of a seed that begins: so is a piece whole somewhere, and passed on, soon. */
const SERVED_AT_ONCE_MIN = 1
/** A downloader serves one more for every so many pieces that it has. */
const PIECES_PER_SERVED = 4
/**
 * The same of a seed: whoever receives from others as well cannot take a piece at the link's speed (one seed and sixteen
 * downloaders in simulation, with blocks of 128 KiB: 1.26 times the limit with four from the start, 1.17 with this).
 */
const SERVED_BY_SEED_MAX = 6
/** A seed serves one more for every so many turns that are over, or stalled, since it had nobody to serve. */
const TURNS_PER_SERVED = 2
/** A peer that waited while so many others were begun with is next, whatever it asks for. */
const PASSED_OVER_MAX = 32

export interface UploadQueueOptions {
  /** This node has all of the blob, or all that it wants. */
  isSeed(): boolean
  /** How much of it this node has. */
  piecesHad(): number
  /** How many of the connected peers have the piece. */
  holdersOf(piece: PieceIndex): number
  nowMs(): number
  /** In [0, 1); says who comes first of those that were never served. */
  random(): number
}

/**
 * Which request is answered next. What is scarce goes first, of this what was never sent, and piece by piece: this matters
 * more for a cold swarm than anything else (docs/performance-fleet.md). A piece that was begun for one peer whose link is
 * full is as good as never sent, and must not wait behind all that this node got meanwhile and others have as well (10,000
 * nodes: 1.16 times the limit in the median, 1.18 with those first). Then other pieces that were never sent.
 * Between other pieces it makes no difference how often they were sent: who is behind the others asks for those, and would
 * fall back further. Within each of these, whoever has least comes first: the last one is what a release waits for. Of
 * equals, whoever waited longest, or else the first to connect would have a seed for itself; and of those that were never
 * served, any: all nodes know the first to arrive, and would serve them first, all at once (of 1,000 nodes 180 had a piece
 * after two seconds, and 629 in any order). Pure but for its randomness.
 */
export class UploadQueue {
  /** With the turn in which each was served last; those that never were stand in any order before them. */
  readonly #lanes = new Map<UploadLane, number>()
  /** Of those that are in the middle of a piece. */
  readonly #slots: UploadSlots
  /** 1 for a piece of which anything was sent. */
  readonly #isSent: Uint8Array
  /** How many pieces were begun. */
  #turn = 0
  /** What that was when nobody was served or waited. */
  #idleAtTurn = 0
  /** Since which turn a lane waits. */
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

  /** The next block to send, with its lane; undefined when there is none that could go out now. */
  peek(): { lane: UploadLane; block: BlockAddress } | undefined {
    const lane = this.#laneInPiece() ?? this.#nextLane()
    const block = lane?.queue.find(({ piece }) => piece === lane.piece)
    return lane && block && { lane, block }
  }

  /** The block of a `peek` is on its way. */
  taken({ lane, block }: { lane: UploadLane; block: BlockAddress }): void {
    lane.queue.splice(lane.queue.indexOf(block), 1)
    this.#isSent[block.piece] = 1
    this.#slots.sent(lane, block.length)
    if (!hasMore(lane) && !lane.isSending()) this.#finish(lane)
  }

  /** A lane that is in the middle of a piece goes on with it. */
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
      // With nobody waiting, a lane need not have sent one piece before it begins the next.
      const isFree = lane.piece === undefined || (!hasMore(lane) && (!isAwaited || lane.isStalled()))
      // Whoever takes back what it asked for waits no more.
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
    // With few at a time, one that takes little must not keep all others waiting.
    return (busy < SERVED_AT_ONCE_MAX ? this.#slots.busy({ nowMs, isPatient: false }) : busy) >= atOnce
  }

  /**
   * 0, 1: hardly any peer has it, and it was never sent, or was; 2, 3: others. With a few peers, scarce would be what is on
   * its way to one of them.
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

  /** Somebody who is not being served waits. */
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

/** How many peers are served at once: one more for each so many of what is done. */
function atOnceOf(done: number, { each, max }: { each: number; max: number }): number {
  return Math.min(max, SERVED_AT_ONCE_MIN + Math.floor(done / each))
}
