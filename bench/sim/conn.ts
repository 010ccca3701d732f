import type { Download, Source, SourcePort } from '../../client/engine/download.ts'
import { LINK_BLOCKS_MAX } from '../../client/engine/link-turns.ts'
import type { UploadQueue } from '../../client/engine/upload-queue.ts'
import type { UploadLane } from '../../client/engine/upload-slots.ts'
import { LANE_STALLED_MS } from '../../client/peer/upload-lane.ts'
import { BLOCK_BYTES_MAX, type BlockAddress } from '../../client/wire/messages.ts'
import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { Flow, Port } from './port.ts'
import { BLOCK_BYTES } from './scenarios.ts'
import type { Trunk } from './trunk.ts'

/** Blocks that a connection's socket takes: as many bytes as the client gives to one. */
const SOCKET_BLOCKS_MAX = (LINK_BLOCKS_MAX * BLOCK_BYTES_MAX) / BLOCK_BYTES

/** A connection's view of the node at either end. */
export interface ConnEnd {
  readonly node: NodeId
  readonly port: Port
  readonly nowMs: number
  readonly download: Download
  readonly uploads: UploadQueue
  /** Blocks in the sockets of all its connections. */
  inSockets: number
  /** Sends as many blocks as possible now. */
  serve(): void
}

/** One direction of a connection between two nodes: a source for one, a lane for the other. Messages take no time. */
export class Conn implements Flow, SourcePort, UploadLane {
  readonly node: NodeId
  readonly sender: ConnEnd
  readonly receiver: ConnEnd
  readonly from: Port
  readonly to: Port
  readonly trunk: Trunk | undefined
  readonly socket: BlockAddress[] = []
  readonly queue: BlockAddress[] = []
  readonly source: Source
  /** The other direction. */
  back!: Conn
  piece: number | undefined
  /** As in client/peer/upload-lane.ts. */
  #unconfirmed: number | undefined
  isClosed = false
  #movedAtMs = 0

  constructor(sender: ConnEnd, receiver: ConnEnd, trunk?: Trunk) {
    this.node = sender.node
    this.sender = sender
    this.receiver = receiver
    this.from = sender.port
    this.to = receiver.port
    this.trunk = trunk
    const limits = { blockBytes: BLOCK_BYTES, requestsMax: Number.POSITIVE_INFINITY, hasFast: true }
    this.source = receiver.download.addSource(this, limits)
  }

  // --- to the receiver: where it asks ---

  request(block: BlockAddress): void {
    this.queue.push(block)
    // Earlier requests continue to wait, and so does this one.
    if (this.queue.length === 1 || this.piece === block.piece) this.sender.serve()
  }

  cancel({ piece, begin }: BlockAddress): void {
    const at = this.queue.findIndex((block) => block.piece === piece && block.begin === begin)
    // A block that was already sent answers the request, too.
    if (at >= 0) this.receiver.download.rejected(this.source, this.queue.splice(at, 1)[0]!)
    this.received(piece as PieceIndex)
  }

  received(piece: PieceIndex): void {
    if (this.#unconfirmed !== piece) return
    this.#unconfirmed = undefined
    this.#movedAtMs = this.sender.nowMs
    if (!this.isClosed) this.sender.serve()
  }

  discardBlock(): void {}

  // --- to the sender: whom it serves ---

  canWrite(): boolean {
    return this.socket.length < SOCKET_BLOCKS_MAX
  }

  piecesHad(): number {
    return this.back.source.offered.count
  }

  isSending(): boolean {
    return this.socket.length > 0 || this.#unconfirmed !== undefined
  }

  isStalled(): boolean {
    return this.isSending() && this.sender.nowMs - this.#movedAtMs > LANE_STALLED_MS
  }

  write(block: BlockAddress): void {
    if (this.socket.length === 0) this.#movedAtMs = this.sender.nowMs
    this.#unconfirmed = block.piece
    this.sender.inSockets += 1
    this.from.send(this, block)
  }

  onSent(): void {
    this.#movedAtMs = this.sender.nowMs
    this.sender.inSockets -= 1
    if (!this.isClosed) this.sender.serve()
  }

  onArrived(block: BlockAddress): void {
    if (this.isClosed) return
    const { download } = this.receiver
    if (download.blockStarts(this.source, block)) download.blockEnds(this.source, block)
  }

  close(): void {
    this.isClosed = true
    this.queue.length = 0
    this.piece = undefined
    this.sender.inSockets -= this.from.close(this)
    this.sender.uploads.remove(this)
    this.receiver.download.removeSource(this.source)
  }
}
