import type { Boundary } from '../../core/defects.ts'
import { type PieceIndex, type PieceLayout, pieceBytesAt } from '../../core/metainfo.ts'
import { LINK_BLOCKS_MAX, type LinkTurns, type TurnTaker } from '../engine/link-turns.ts'
import type { UploadLane } from '../engine/upload-slots.ts'
import { PeerProtocolError } from '../errors.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import {
  BLOCK_BYTES_FOREIGN,
  BLOCK_BYTES_MAX,
  BLOCK_HEADER_BYTES,
  type BlockAddress,
  LINK_BLOCK_HEADER_BYTES,
  writeBlockHeader,
} from '../wire/messages.ts'
import type { LinkWriter } from './link-writer.ts'
import type { SendBuffers } from './send-buffers.ts'

/** Unanswered requests of one peer; more are rejected (BEP 6). Announced as `reqq`. */
export const REQUESTS_QUEUED_MAX = 256
/**
 * A lane stalls when its socket accepts nothing, or its piece does not arrive, for this time. It keeps nobody from
 * being served.
 */
export const LANE_STALLED_MS = 1_000
/**
 * The same for a peer that has never confirmed a piece. It halves with each unconfirmed piece: a peer that never
 * confirms must not keep others waiting, block by block.
 */
const UNCONFIRMED_MS = LANE_STALLED_MS / 4
/** A socket that has accepted nothing for this time is closed: its send buffers are needed for others. */
const LANE_DEAD_MS = 5_000

export interface PeerLaneHost {
  /** The connection's boundary. */
  readonly boundary: Boundary
  readonly layout: PieceLayout
  /** The swarm's number, on a link between nodes. */
  readonly number?: number
  /** Shares the connection with the other swarms on it. */
  readonly turns: LinkTurns
  /** The other side says when a piece has arrived (`PeerLink.received`); stock clients do not. */
  readonly confirmsPieces: boolean
  hasPiece(piece: PieceIndex): boolean
  piecesHad(): number
  /** The block is not available. */
  reject(block: BlockAddress): void
  /** The block was given to the socket. */
  onServed(block: BlockAddress): void
  /** A block was requested, or there is room for another. */
  onReady(): void
  /** The other side accepts nothing any more. */
  onDead(): void
}

/** The answers to one peer's requests, from the store into its socket. */
export class PeerLane implements UploadLane, TurnTaker {
  isRead = false
  readonly queue: BlockAddress[] = []
  piece: number | undefined
  readonly #writer: LinkWriter
  readonly #host: PeerLaneHost
  /** When the socket last accepted a block, or the lane began. */
  movedAtMs = Date.now()
  #blocks = 0
  /** The last piece served, until the other side confirms or cancels it. */
  #unconfirmed: number | undefined
  #confirmedInMs = UNCONFIRMED_MS
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(writer: LinkWriter, host: PeerLaneHost) {
    this.#writer = writer
    this.#host = host
  }

  /**
   * @returns false for a request that is rejected, and for one that costs more than it moves
   * @throws PeerProtocolError for a block that does not exist
   */
  ask({ piece, begin, length }: BlockAddress & { piece: PieceIndex }): boolean {
    const pieceEnd = pieceBytesAt(this.#host.layout, piece)
    if (length <= 0 || length > BLOCK_BYTES_MAX || begin + length > pieceEnd)
      throw new PeerProtocolError('requested a block that does not exist')
    if (!this.#host.hasPiece(piece) || this.queue.length >= REQUESTS_QUEUED_MAX) {
      this.#host.reject({ piece, begin, length })
      return false
    }
    this.queue.push({ piece, begin, length })
    this.#host.onReady()
    return length >= BLOCK_BYTES_FOREIGN
  }

  /**
   * BEP 6: a cancelled request is answered too, by the block when it was already sent, else by a reject. The other
   * side has received the piece, or no longer wants it.
   * @returns false when it changed nothing
   */
  cancel({ piece, begin, length }: BlockAddress): boolean {
    const at = this.queue.findIndex((block) => block.piece === piece && block.begin === begin)
    if (at >= 0) {
      this.queue.splice(at, 1)
      this.#host.reject({ piece, begin, length })
    }
    return this.#confirm(piece)
  }

  piecesHad(): number {
    return this.#host.piecesHad()
  }

  canWrite(): boolean {
    if (this.#isClosed || this.queue.length === 0) return false
    return this.#blocks < LINK_BLOCKS_MAX && this.#host.turns.mayWrite(this)
  }

  onTurn(): void {
    this.#host.onReady()
  }

  /** Rejects every request that waits (BEP 6): the other side may not have these blocks any more. */
  refuseAll(): void {
    for (const block of this.queue.splice(0)) this.#host.reject(block)
  }

  isSending(): boolean {
    return this.#blocks > 0 || this.#unconfirmed !== undefined
  }

  isStalled(): boolean {
    const patienceMs = this.#blocks > 0 ? LANE_STALLED_MS : this.#confirmedInMs
    return this.isSending() && Date.now() - this.movedAtMs > patienceMs
  }

  /**
   * Reads the block and sends it.
   * @returns false when no buffer is free: ask again when one is; undefined when the connection ended over it
   */
  serve(
    ...served: [block: BlockAddress, file: Pick<StoredBlob, 'readBlock'>, buffers: SendBuffers]
  ): boolean | undefined {
    return this.#host.boundary.run(() => this.#begin(...served))
  }

  #begin(block: BlockAddress, file: Pick<StoredBlob, 'readBlock'>, buffers: SendBuffers): boolean {
    const buffer = buffers.acquire()
    if (!buffer) return false
    if (this.#blocks === 0) this.movedAtMs = Date.now()
    this.#blocks += 1
    this.#host.turns.begun(this)
    if (this.#host.confirmsPieces) this.#unconfirmed = block.piece
    this.#watch()
    const { number } = this.#host
    const at = number === undefined ? BLOCK_HEADER_BYTES : LINK_BLOCK_HEADER_BYTES
    let isDone = false
    // Once, whatever fails: a buffer that is released twice would carry two blocks at once.
    const done = () => {
      if (isDone) return
      isDone = true
      this.#blocks -= 1
      this.movedAtMs = Date.now()
      buffers.release(buffer)
      this.#host.onReady()
      this.#host.turns.ended()
    }
    // Not at once: the queue still holds this block, and would ask for it again during this call.
    const doneSoon = () => queueMicrotask(this.#host.boundary.callback(done))
    // Again: a piece may have been dropped since it was asked for, or while it was read, and be written anew.
    const mayBeServed = () => !this.#isClosed && this.#host.hasPiece(block.piece as PieceIndex)
    const send = (isRead: boolean) => {
      if (!isRead || !mayBeServed()) {
        doneSoon()
        this.#host.reject(block)
        return
      }
      this.#host.onServed(block)
      writeBlockHeader(buffer, block, number)
      this.#writer.sendBlock(buffer.subarray(0, at + block.length), done)
    }
    const position = block.piece * this.#host.layout.pieceBytes + block.begin
    const wanted = { at, length: block.length, position }
    file.readBlock(buffer, wanted, this.#host.boundary.callback(releasing(send, doneSoon)))
    return true
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#host.turns.drop(this)
  }

  #confirm(piece: number): boolean {
    if (piece !== this.#unconfirmed) return false
    this.#unconfirmed = undefined
    this.#confirmedInMs = LANE_STALLED_MS
    this.movedAtMs = Date.now()
    this.#host.onReady()
    return true
  }

  #watch(): void {
    if (this.#timer || this.#isClosed) return
    const look = () => {
      this.#timer = undefined
      if (!this.isSending()) return
      const isDead = this.#blocks > 0 && Date.now() - this.movedAtMs > LANE_DEAD_MS
      if (isDead) return this.#host.onDead()
      if (this.#blocks > 0 || !this.isStalled()) this.#watch()
      else this.#confirmedInMs /= 2
      // Others may have waited for this lane.
      this.#host.onReady()
    }
    this.#timer = setTimeout(this.#host.boundary.callback(look), UNCONFIRMED_MS)
    this.#timer.unref()
  }
}

/** Wraps `send` so that `release` runs when it fails. */
function releasing(send: (isRead: boolean) => void, release: () => void): (isRead: boolean) => void {
  return (isRead) => {
    try {
      send(isRead)
    } catch (error) {
      release()
      throw error
    }
  }
}
