import { BLOCK_BYTES_MAX, LINK_BLOCK_HEADER_BYTES } from '../wire/messages.ts'

/** Blocks in flight to sockets, on the whole node: 64 of 128 KiB are 8 MiB. */
export const SEND_BUFFERS_MAX = 64

/**
 * Reused buffers for outgoing blocks, header included. A fresh buffer for each block costs more than its encryption.
 */
export class SendBuffers {
  readonly #free: Buffer[] = []
  #made = 0
  readonly #waiting = new Set<() => void>()

  acquire(): Buffer | undefined {
    const reused = this.#free.pop()
    if (reused) return reused
    if (this.#made >= SEND_BUFFERS_MAX) return undefined
    this.#made += 1
    return Buffer.allocUnsafeSlow(LINK_BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX)
  }

  release(buffer: Buffer): void {
    this.#free.push(buffer)
    for (const wake of this.#waiting) {
      this.#waiting.delete(wake)
      wake()
      if (this.#free.length === 0) return
    }
  }

  /** `wake` is called once, when a buffer is free. */
  whenFree(wake: () => void): void {
    this.#waiting.add(wake)
  }
}
