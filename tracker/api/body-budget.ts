import { TooManyRequestsError } from '../errors.ts'

/** Bytes of all members' large bodies in flight; JSON takes several times as much once it is parsed. */
export const BODIES_BYTES_MAX = 64 * 1024 * 1024
/** Bodies up to this size do not count: a connection has one at a time, which makes 176 MiB in the worst case. */
export const SMALL_BODY_BYTES_MAX = 16 * 1024
/** One network's bodies may take this share of what is free: at most 16 MiB. */
const NETWORK_SHARE = 1 / 4
/** Wait for a caller with too many bytes in flight. */
const RETRY_SECONDS = 1

/**
 * The bytes that bodies may take. A request reserves its announced length before any of it is read. Counted by network,
 * because ids cost nothing.
 */
export class BodyBudget {
  readonly #byNetwork = new Map<string, number>()
  #bytes = 0

  /**
   * @returns a function that gives the bytes back; call it once
   * @throws TooManyRequestsError
   */
  reserve(network: string, bytes: number): () => void {
    if (bytes <= SMALL_BODY_BYTES_MAX) return () => undefined
    const before = this.#byNetwork.get(network) ?? 0
    if (before + bytes > (BODIES_BYTES_MAX - this.#bytes) * NETWORK_SHARE) {
      throw new TooManyRequestsError(RETRY_SECONDS)
    }
    this.#add(network, bytes)
    return () => this.#add(network, -bytes)
  }

  #add(network: string, bytes: number): void {
    this.#bytes += bytes
    const left = (this.#byNetwork.get(network) ?? 0) + bytes
    if (left === 0) this.#byNetwork.delete(network)
    else this.#byNetwork.set(network, left)
  }
}
