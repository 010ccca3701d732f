import { TooManyRequestsError } from '../errors.ts'

/** Bytes of large bodies that members have under way, all together; JSON takes some times as much once it is read. */
export const BODIES_BYTES_MAX = 64 * 1024 * 1024
/** Up to so many bytes a body is none of these: a connection has one, so that they are 176 MiB at the very worst. */
export const SMALL_BODY_BYTES_MAX = 16 * 1024
/** One network's bodies may have so much of what nobody else's have yet: at most 16 MiB. */
const NETWORK_SHARE = 1 / 4
/** What a caller with too many bytes under way is told to wait. */
const RETRY_SECONDS = 1

/**
 * The bytes that bodies may take. Reserved by what a request says of its length, before any of it is read; by network, as
 * ids cost nothing.
 */
export class BodyBudget {
  readonly #byNetwork = new Map<string, number>()
  #bytes = 0

  /**
   * @returns what gives the bytes back, to be called once
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
