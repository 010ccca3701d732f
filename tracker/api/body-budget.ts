import { TooManyRequestsError } from '../errors.ts'

/** Bytes of requests' bodies that members have under way, all together; JSON takes some times as much once it is read. */
export const BODIES_BYTES_MAX = 64 * 1024 * 1024
/**
 * One caller may have so much of what is left of it, 16 MiB of a budget that nobody uses: whoever comes next finds as
 * much of a rest, and 40 greedy callers together leave 5.8 MiB, of which the next may have 1.4.
 */
const CALLER_SHARE = 1 / 4
/** What a caller with too many bytes under way is told to wait. */
const RETRY_SECONDS = 1

/** The bytes that bodies may take. Reserved by what a request says of its length, before any of it is read. */
export class BodyBudget {
  readonly #byCaller = new Map<string, number>()
  #bytes = 0

  /**
   * @returns what gives the bytes back, to be called once
   * @throws TooManyRequestsError
   */
  reserve(caller: string, bytes: number): () => void {
    const before = this.#byCaller.get(caller) ?? 0
    if (before + bytes > (BODIES_BYTES_MAX - this.#bytes) * CALLER_SHARE) {
      throw new TooManyRequestsError(RETRY_SECONDS)
    }
    this.#add(caller, bytes)
    return () => this.#add(caller, -bytes)
  }

  #add(caller: string, bytes: number): void {
    this.#bytes += bytes
    const left = (this.#byCaller.get(caller) ?? 0) + bytes
    if (left === 0) this.#byCaller.delete(caller)
    else this.#byCaller.set(caller, left)
  }
}
