/** All pieces under way on this node together: sixteen of the largest. Bounds memory whatever the blobs' sizes are. */
export const PIECE_BUFFERS_BYTES_MAX = 64 * 1024 * 1024

/**
 * Memory for one piece while it arrives and is verified. It is handed over to the verifying thread and back (not
 * shared: V8 copies into shared memory word by word); meanwhile `bytes` is empty.
 */
export interface PieceBuffer {
  bytes: Uint8Array<ArrayBuffer>
  readonly pieceBytes: number
}

/**
 * Reused piece buffers. Reuse matters: fresh buffers for every piece cost more than the cipher.
 * Invariant: in use plus free never exceeds PIECE_BUFFERS_BYTES_MAX.
 */
export class PieceBuffers {
  private readonly free = new Map<number, PieceBuffer[]>()
  private totalBytes = 0
  private readonly waiting = new Set<() => void>()

  /** @returns undefined when the bound is reached: ask again after `onRelease` */
  acquire(pieceBytes: number): PieceBuffer | undefined {
    const reused = this.free.get(pieceBytes)?.pop()
    if (reused) return reused
    if (this.totalBytes + pieceBytes > PIECE_BUFFERS_BYTES_MAX) this.dropFree(pieceBytes)
    if (this.totalBytes + pieceBytes > PIECE_BUFFERS_BYTES_MAX) return undefined
    this.totalBytes += pieceBytes
    return { bytes: new Uint8Array(pieceBytes), pieceBytes }
  }

  /** Waits for memory. @throws the signal's reason */
  async whenFree(pieceBytes: number, signal: AbortSignal): Promise<PieceBuffer> {
    for (;;) {
      signal.throwIfAborted()
      const buffer = this.acquire(pieceBytes)
      if (buffer) return buffer
      await new Promise<void>((resolve) => {
        const off = this.onRelease(() => {
          off()
          resolve()
        })
      })
    }
  }

  release(buffer: PieceBuffer): void {
    const { pieceBytes } = buffer
    const list = this.free.get(pieceBytes)
    // Memory that did not come back from the verifying thread is gone.
    if (buffer.bytes.length === 0) this.totalBytes -= pieceBytes
    else if (list) list.push(buffer)
    else this.free.set(pieceBytes, [buffer])
    for (const wake of this.waiting) wake()
  }

  /** `wake` is called after every release until it is taken off again. */
  onRelease(wake: () => void): () => void {
    this.waiting.add(wake)
    return () => this.waiting.delete(wake)
  }

  /** Gives up free buffers of other sizes until `bytes` more fit. */
  private dropFree(bytes: number): void {
    for (const [size, list] of this.free) {
      while (list.length > 0 && this.totalBytes + bytes > PIECE_BUFFERS_BYTES_MAX) {
        list.pop()
        this.totalBytes -= size
      }
    }
  }
}
