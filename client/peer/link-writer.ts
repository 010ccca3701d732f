import type { Socket } from 'node:net'
import type { Boundary } from '../../core/defects.ts'

/** Unsent bytes of a peer that does not read: a full lane and many small messages. */
const UNSENT_BYTES_MAX = 8 * 1024 * 1024

interface Block {
  bytes: Uint8Array
  done(): void
}

/**
 * The outgoing bytes of one connection, one write at a time. A stream joins everything that waits behind a write
 * (writev), and TLS copies the joined bytes into fresh memory: an eighth of a node's CPU time for peers behind full
 * links. Messages go before waiting blocks: otherwise a request would wait behind a megabyte. Invariant: `done` of
 * each block is called once, when its bytes may be reused.
 */
export class LinkWriter {
  readonly #socket: Socket
  readonly #boundary: Boundary
  readonly #onUnread: () => void
  readonly #messages: Buffer[] = []
  readonly #blocks: Block[] = []
  #waitingBytes = 0
  #isWriting = false
  #isFlushDue = false
  #isClosed = false

  /**
   * @param boundary of the connection
   * @param onUnread called when more than UNSENT_BYTES_MAX wait for the other side to read
   */
  constructor(socket: Socket, boundary: Boundary, onUnread: () => void) {
    this.#socket = socket
    this.#boundary = boundary
    this.#onUnread = onUnread
  }

  /** Bytes that the kernel has not accepted yet. */
  get unsentBytes(): number {
    return this.#waitingBytes + this.#socket.writableLength
  }

  /** Goes out at the end of this turn, or behind what is being written. */
  addMessage(bytes: Buffer): void {
    if (this.#isClosed) return
    this.#messages.push(bytes)
    this.#waitingBytes += bytes.length
    if (this.#isFlushDue) return
    // One flush for all messages of a turn of the event loop.
    this.#isFlushDue = true
    queueMicrotask(this.#boundary.callback(() => this.#endTurn()))
  }

  /** Goes out after every message added before. */
  sendBlock(bytes: Uint8Array, done: () => void): void {
    if (this.#isClosed) {
      queueMicrotask(this.#boundary.callback(done))
      return
    }
    this.#blocks.push({ bytes, done })
    this.#waitingBytes += bytes.length
    this.#flush()
  }

  #endTurn(): void {
    this.#isFlushDue = false
    if (this.#isClosed) return
    this.#flush()
    if (this.unsentBytes > UNSENT_BYTES_MAX) this.#onUnread()
  }

  #flush(): void {
    if (this.#isWriting || this.#isClosed) return
    if (this.#messages.length > 0) this.#writeMessages()
    else this.#writeBlock(this.#blocks.shift())
  }

  /** Sends nothing more. The end of the socket completes the current write. */
  close(): void {
    this.#isClosed = true
    for (const { done } of this.#blocks.splice(0)) queueMicrotask(this.#boundary.callback(done))
  }

  /** Joined: a TLS record for each small message would cost more than the message. */
  #writeMessages(): void {
    const bytes = this.#messages.length === 1 ? this.#messages[0]! : Buffer.concat(this.#messages)
    this.#messages.length = 0
    this.#write(bytes)
  }

  #writeBlock(block: Block | undefined): void {
    if (block) this.#write(block.bytes, block.done)
  }

  #write(bytes: Uint8Array, done?: () => void): void {
    this.#waitingBytes -= bytes.length
    this.#isWriting = true
    const written = () => {
      this.#isWriting = false
      try {
        this.#flush()
      } finally {
        done?.()
      }
    }
    this.#socket.write(bytes, this.#boundary.callback(written))
  }
}
