/**
 * What a zone sends to the others, block by block. Shared by all its nodes: the narrow part between zones. A block waits
 * behind those that entered before it.
 */
export class Trunk {
  sentBytes = 0
  readonly #bytesPerMs: number
  #freeAtMs = 0

  constructor(bytesPerMs: number) {
    this.#bytesPerMs = bytesPerMs
  }

  /** @returns when the block has passed */
  pass(nowMs: number, bytes: number): number {
    this.sentBytes += bytes
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + bytes / this.#bytesPerMs
    return this.#freeAtMs
  }
}
