/**
 * All pieces in flight on this node together, in memory or written as they arrive: sixteen of the largest. Bounds memory
 * whatever the blobs' sizes are.
 */
export const PIECE_BUFFERS_BYTES_MAX = 64 * 1024 * 1024
/** Part of them: second copies, of pieces that are being written. They wait in memory until they are verified. */
export const SECOND_COPIES_BYTES_MAX = 16 * 1024 * 1024
/** Part of them: verified pieces that readers are about to read. */
export const RECENT_PIECES_BYTES_MAX = 16 * 1024 * 1024
/** A blob that was refused memory counts as waiting for this time: while it downloads it asks again within 250 ms. */
const WAITING_MS = 1_000

/**
 * Memory for one piece while it arrives and is verified. It is transferred to the verifying thread and back (not
 * shared: V8 copies into shared memory word by word); meanwhile `bytes` is empty.
 */
export interface PieceBuffer {
  bytes: Uint8Array<ArrayBuffer>
  readonly pieceBytes: number
  /** Another copy of the piece is being written; counted against SECOND_COPIES_BYTES_MAX. */
  readonly isSecond: boolean
}

/**
 * Reused piece buffers: fresh buffers for every piece cost more than the cipher. Each blob has a share: Docker pulls
 * three layers at a time, and the first two would leave nothing for the third. Invariant: used and free buffers, and the
 * pieces that are written as they arrive, together never exceed PIECE_BUFFERS_BYTES_MAX.
 */
export class PieceBuffers {
  readonly #free = new Map<number, Uint8Array<ArrayBuffer>[]>()
  #totalBytes = 0
  #secondBytes = 0
  #recentBytes = 0
  readonly #waiting = new Set<() => void>()
  /** Shares that hold a buffer or wait for one. */
  readonly #shares = new Set<PieceBufferShare>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** A share for one blob. */
  share(): PieceBufferShare {
    return new PieceBufferShare(this, this.#nowMs)
  }

  /** @returns undefined when the bound is reached, or others come first: ask again after `onRelease` */
  take(share: PieceBufferShare, pieceBytes: number, isSecond: boolean): PieceBuffer | undefined {
    this.#shares.add(share)
    if (this.#mustYield(share, pieceBytes)) return undefined
    if (isSecond && this.#secondBytes + pieceBytes > SECOND_COPIES_BYTES_MAX) return undefined
    const bytes = this.#free.get(pieceBytes)?.pop() ?? (this.#count(pieceBytes) && new Uint8Array(pieceBytes))
    if (!bytes) return undefined
    if (isSecond) this.#secondBytes += pieceBytes
    return { bytes, pieceBytes, isSecond }
  }

  give({ bytes, pieceBytes, isSecond }: PieceBuffer): void {
    if (isSecond) this.#secondBytes -= pieceBytes
    const list = this.#free.get(pieceBytes)
    // Memory that the verifying thread did not return is lost.
    if (bytes.length === 0) this.#totalBytes -= pieceBytes
    else if (list) list.push(bytes)
    else this.#free.set(pieceBytes, [bytes])
    this.#wake()
  }

  /** @returns false when readers have enough: the buffer is to be released */
  keep({ pieceBytes }: PieceBuffer): boolean {
    if (this.#recentBytes + pieceBytes > RECENT_PIECES_BYTES_MAX) return false
    this.#recentBytes += pieceBytes
    return true
  }

  /** The opposite of `keep`: the buffer is to be released. */
  unkeep({ pieceBytes }: PieceBuffer): void {
    this.#recentBytes -= pieceBytes
  }

  /** Counts a piece that is written as it arrives. @returns false as `take` returns undefined */
  book(share: PieceBufferShare, pieceBytes: number): boolean {
    this.#shares.add(share)
    return !this.#mustYield(share, pieceBytes) && this.#count(pieceBytes)
  }

  unbook(pieceBytes: number): void {
    this.#totalBytes -= pieceBytes
    this.#wake()
  }

  /** @returns false when the bound is reached */
  #count(pieceBytes: number): boolean {
    this.#dropFree(pieceBytes)
    if (this.#totalBytes + pieceBytes > PIECE_BUFFERS_BYTES_MAX) return false
    this.#totalBytes += pieceBytes
    return true
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  /** Calls `wake` after every release. @returns a function that ends this */
  onRelease(wake: () => void): () => void {
    this.#waiting.add(wake)
    return () => this.#waiting.delete(wake)
  }

  /** The share would exceed an equal part while a smaller one waits. */
  #mustYield(share: PieceBufferShare, pieceBytes: number): boolean {
    for (const other of this.#shares)
      if (other !== share && other.heldBytes === 0 && !other.isWaiting) this.#shares.delete(other)
    const part = PIECE_BUFFERS_BYTES_MAX / this.#shares.size
    if (share.heldBytes + pieceBytes <= part) return false
    for (const other of this.#shares)
      if (other !== share && other.isWaiting && other.heldBytes + pieceBytes <= part) return true
    return false
  }

  /** Frees unused buffers of other sizes until `bytes` more fit. */
  #dropFree(bytes: number): void {
    for (const [size, list] of this.#free) {
      while (list.length > 0 && this.#totalBytes + bytes > PIECE_BUFFERS_BYTES_MAX) {
        list.pop()
        this.#totalBytes -= size
      }
    }
  }
}

/** One blob's share of the buffers. */
export class PieceBufferShare {
  heldBytes = 0
  #waitsUntilMs = 0
  readonly #all: PieceBuffers
  readonly #nowMs: () => number

  constructor(all: PieceBuffers, nowMs: () => number) {
    this.#all = all
    this.#nowMs = nowMs
  }

  /** It was refused a buffer a moment ago. */
  get isWaiting(): boolean {
    return this.#nowMs() < this.#waitsUntilMs
  }

  /** @returns undefined when there is none now: ask again soon */
  acquire(pieceBytes: number, { isSecond = false } = {}): PieceBuffer | undefined {
    const buffer = this.#all.take(this, pieceBytes, isSecond)
    this.#took(buffer !== undefined, pieceBytes)
    return buffer
  }

  /** @returns false when there is no room for the piece now: ask again soon */
  book(pieceBytes: number): boolean {
    const isBooked = this.#all.book(this, pieceBytes)
    this.#took(isBooked, pieceBytes)
    return isBooked
  }

  unbook(pieceBytes: number): void {
    this.heldBytes -= pieceBytes
    this.#all.unbook(pieceBytes)
  }

  #took(hasRoom: boolean, pieceBytes: number): void {
    this.#waitsUntilMs = hasRoom ? 0 : this.#nowMs() + WAITING_MS
    if (hasRoom) this.heldBytes += pieceBytes
  }

  /** The verified piece stays in memory for a reader. @returns false when there is no room for that */
  keep(buffer: PieceBuffer): boolean {
    return this.#all.keep(buffer)
  }

  /** No reader needs the piece in memory any more. */
  releaseKept(buffer: PieceBuffer): void {
    this.#all.unkeep(buffer)
    this.release(buffer)
  }

  /** Waits for memory. @throws the signal's reason */
  async whenFree(pieceBytes: number, signal: AbortSignal): Promise<PieceBuffer> {
    for (;;) {
      signal.throwIfAborted()
      const buffer = this.acquire(pieceBytes)
      if (buffer) return buffer
      await new Promise<void>((resolve) => {
        const off = this.#all.onRelease(() => {
          off()
          resolve()
        })
      })
    }
  }

  release(buffer: PieceBuffer): void {
    this.heldBytes -= buffer.pieceBytes
    this.#all.give(buffer)
  }
}
