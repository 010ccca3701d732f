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
  /** Of the swarm: what belongs to no one connection. */
  boundary: Boundary
}

/** What goes out of one blob: the next request of the queue, as fast as this node may send and has buffers. */
export class Uploads {
  /** Bytes of blocks given to peers' connections. */
  bytesSent = 0
  readonly #options: UploadsOptions
  readonly #queue: UploadQueue
  #timer: NodeJS.Timeout | undefined
  /** One and the same function: a swarm waits once for a buffer, however often it is asked for blocks meanwhile. */
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

  /** Sends what can be sent now. */
  send(): void {
    const { stored, sendBuffers, uploadLimit } = this.#options
    for (let next = this.#queue.peek(); next; next = this.#queue.peek()) {
      const delayMs = uploadLimit.take(next.block.length)
      if (delayMs > 0) {
        this.#sendLater(delayMs)
        return
      }
      const isServed = (next.lane as PeerLane).serve(next.block, stored, sendBuffers)
      // Its connection has ended, and its requests with it.
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
