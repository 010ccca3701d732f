/** Bounds of the time after which the first asker without a lease asks again, in milliseconds. */
export const RETRY_MIN_MS = 250
/** And at most this long. */
export const RETRY_MAX_MS = 5000
/**
 * Time between two askers of one swarm: enough of them come for the rest of an expired lease, and ten thousand waiting nodes
 * do not ask two thousand times a second.
 */
const ASKERS_APART_MS = 20
/** The last asker comes at most this much later than the first. */
export const RETRY_SPREAD_MAX_MS = 15_000
/** The same for nodes that wait for a lost piece: they believe the tracker for 12 s. */
export const REFETCH_SPREAD_MAX_MS = 6_000

/** Decides when nodes without a lease of one swarm ask again. Not stored. Pure: clock and chance are passed in. */
export class Retries {
  #lastAtMs = Number.NEGATIVE_INFINITY

  /**
   * Sends askers back one after the other, from the time when the first lease may expire.
   * @param options.isCold some piece has no hash yet; else the asker waits for a piece that lost its holders
   * @param options.random in [0, 1)
   */
  inMs(options: { nextExpiryInMs: number; isCold: boolean; nowMs: number; random: number }): number {
    const { nextExpiryInMs, isCold, nowMs, random } = options
    const spreadMaxMs = isCold ? RETRY_SPREAD_MAX_MS : REFETCH_SPREAD_MAX_MS
    const base = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, nextExpiryInMs))
    const inTurn = Math.max(base, this.#lastAtMs + ASKERS_APART_MS - nowMs)
    if (inTurn > base + spreadMaxMs) return Math.round(base + random * spreadMaxMs)
    this.#lastAtMs = nowMs + inTurn
    return Math.round(inTurn)
  }
}
