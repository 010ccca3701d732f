import type { Boundary } from '../../core/defects.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import { UploadQueue, type UploadQueueOptions } from '../engine/upload-queue.ts'
import type { SendBuffers } from '../peer/send-buffers.ts'
import type { PeerLane } from '../peer/upload-lane.ts'
import type { StoredBlob } from '../store/blob-store.ts'

export interface UploadsOptions {
  stored: StoredBlob
  sendBuffers: SendBuffers
  uploadLimit: RateLimit
  /** The swarm's boundary, for work that belongs to no single connection. */
  boundary: Boundary
}

/** The uploads of one blob: sends the next request of the queue, within the node's rate and buffers. */
export class Uploads {
  /** Bytes of blocks given to peers' connections. */
  bytesSent = 0
  readonly #options: UploadsOptions
  readonly #queue: UploadQueue
  #timer: NodeJS.Timeout | undefined
  /** Always the same function: a swarm waits once for a buffer, however many blocks are requested meanwhile. */
  readonly #goOn: () => void

  constructor(options: UploadsOptions, order: UploadQueueOptions) {
    this.#options = options
    this.#queue = new UploadQueue(options.stored.layout, order)
    this.#goOn = options.boundary.callback(() => this.send())
  }

  add(lane: PeerLane): void {
    this.#queue.add(lane)
  }

  remove(lane: PeerLane): void {
    this.#queue.remove(lane)
  }

  /** Sends as many blocks as possible now. */
  send(): void {
    const { stored, sendBuffers, uploadLimit } = this.#options
    for (let next = this.#queue.peek(); next; next = this.#queue.peek()) {
      const delayMs = uploadLimit.take(next.block.length, this)
      if (delayMs > 0) {
        this.#sendLater(delayMs)
        return
      }
      const isServed = (next.lane as PeerLane).serve(next.block, stored, sendBuffers)
      // The connection has ended, and its requests with it.
      if (isServed === undefined) continue
      if (!isServed) {
        sendBuffers.whenFree(this.#goOn)
        return
      }
      this.#queue.taken(next)
      stored.served()
      this.bytesSent += next.block.length
    }
  }

  #sendLater(delayMs: number): void {
    const send = () => {
      this.#timer = undefined
      this.#goOn()
    }
    this.#timer ??= setTimeout(send, delayMs).unref()
  }
}
