import type { TLSSocket } from 'node:tls'
import type { UploadLane } from '../engine/upload-queue.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { BLOCK_HEADER_BYTES, type BlockAddress, writeBlockHeader } from '../wire/messages.ts'
import type { SendBuffers } from './send-buffers.ts'

/** Blocks being read or written for one peer, whatever their size: an eighth of the node's send buffers, 1 MiB. */
const LANE_BLOCKS_MAX = 8
/** A lane whose socket has taken nothing for so long does not keep others from being served. */
const LANE_STALLED_MS = 500
/** A socket that has taken nothing for so long is closed: what waits in it is send buffers that others lack. */
const LANE_DEAD_MS = 5_000

export interface PeerLaneHost {
  /** What was said before goes out before the block. */
  flush(): void
  /** The block cannot be read. */
  reject(block: BlockAddress): void
  /** There is room for another block. */
  onFree(): void
  /** The other side takes nothing any more. */
  onDead(): void
}

/** Answers to one peer's requests, on their way from the store into its socket. */
export class PeerLane implements UploadLane {
  readonly queue: BlockAddress[] = []
  piece: number | undefined
  private readonly socket: TLSSocket
  private readonly pieceBytes: number
  private readonly host: PeerLaneHost
  private blocks = 0
  private movedAtMs = Date.now()
  private timer: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(socket: TLSSocket, pieceBytes: number, host: PeerLaneHost) {
    this.socket = socket
    this.pieceBytes = pieceBytes
    this.host = host
  }

  canWrite(): boolean {
    return !this.isClosed && this.blocks < LANE_BLOCKS_MAX
  }

  isStalled(): boolean {
    return !this.canWrite() && Date.now() - this.movedAtMs > LANE_STALLED_MS
  }

  /** Reads the block and sends it. @returns false when no buffer is free: ask again when one is */
  serve(block: BlockAddress, file: Pick<StoredBlob, 'readBlock'>, buffers: SendBuffers): boolean {
    const buffer = buffers.acquire()
    if (!buffer) return false
    if (this.blocks === 0) this.movedAtMs = Date.now()
    this.blocks += 1
    this.watch()
    const done = () => {
      this.blocks -= 1
      this.movedAtMs = Date.now()
      buffers.release(buffer)
      this.host.onFree()
    }
    const position = block.piece * this.pieceBytes + block.begin
    file.readBlock(buffer, { at: BLOCK_HEADER_BYTES, length: block.length, position }, (isRead) => {
      if (!isRead || this.isClosed) {
        this.host.reject(block)
        // Not at once: the queue still holds this block, and would be asked for it again from in here.
        queueMicrotask(done)
        return
      }
      this.host.flush()
      writeBlockHeader(buffer, block)
      this.socket.write(buffer.subarray(0, BLOCK_HEADER_BYTES + block.length), done)
    })
    return true
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
  }

  private watch(): void {
    if (this.timer || this.isClosed) return
    const leftMs = this.movedAtMs + LANE_DEAD_MS - Date.now()
    this.timer = setTimeout(() => {
      this.timer = undefined
      if (this.blocks === 0) return
      if (Date.now() - this.movedAtMs < LANE_DEAD_MS) this.watch()
      else this.host.onDead()
    }, leftMs)
    this.timer.unref()
  }
}
