/** A chunk of at least this length is kept as it is. */
const OWN_BYTES_MIN = 4096
/** Shorter ones are copied together into memory of this length. */
const JOIN_BYTES = 64 * 1024

/**
 * The bytes of a body until somebody takes them. Whoever sends a body decides how long its chunks are, and each chunk costs
 * some 200 bytes beside its content: this keeps memory in proportion to the bytes.
 */
export class JoinedChunks {
  #parts: Uint8Array[] = []
  #open = Buffer.alloc(0)
  #used = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  add(chunk: Uint8Array): void {
    this.#bytes += chunk.length
    if (chunk.length >= OWN_BYTES_MIN) {
      this.#close()
      this.#parts.push(chunk)
      return
    }
    if (this.#used + chunk.length > this.#open.length) {
      this.#close()
      this.#open = Buffer.allocUnsafeSlow(JOIN_BYTES)
    }
    this.#open.set(chunk, this.#used)
    this.#used += chunk.length
  }

  /** All bytes so far, which are forgotten here. */
  take(): Buffer {
    this.#close()
    const all = Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return all
  }

  #close(): void {
    if (this.#used === 0) return
    this.#parts.push(this.#open.subarray(0, this.#used))
    this.#open = this.#open.subarray(this.#used)
    this.#used = 0
  }
}
