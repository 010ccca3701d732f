/** Proofs that a node verifies in a second, of all its links together: 4 % of a core for ES256, a fifth for the slowest. */
export const PROOFS_PER_SECOND_MAX = 50
/** The proofs of this time may come at once: a release begins at the same moment on all nodes. */
const BURST_MS = 1_000

/** Spreads the verification of proofs. A proof that was verified before costs nothing. Pure: the clock is passed in. */
export class ProofRate {
  #freeAtMs = 0

  /** Reserves a place. @returns how long to wait for it */
  take(nowMs: number): number {
    const atMs = Math.max(this.#freeAtMs, nowMs - BURST_MS)
    this.#freeAtMs = atMs + 1000 / PROOFS_PER_SECOND_MAX
    return Math.max(0, atMs - nowMs)
  }
}
