import type { Logger } from 'pino'
import { BoundedMap } from '../core/bounded-map.ts'
import { TooManyRequestsError } from './errors.ts'
import { TokenBucket } from './token-bucket.ts'

/**
 * How much one caller may ask: a bucket of tokens for the rate, and a count of requests under way. A caller is the node
 * that the certificate names, or for those without one (joins) the source address; of IPv6 its /64. Decided before a body is read.
 */
export interface RequestBounds {
  /** What the bucket gains per second; 0: no limit. */
  requestsPerSecondMax: number
  /** What the bucket holds. */
  requestsBurstMax: number
  /** Requests of one caller under way; 0: no limit. */
  requestsConcurrentMax: number
}

/** Callers that are remembered: who was longest without a request is forgotten first, and begins with a full bucket. */
const CALLERS_MAX = 20_000
/** A caller that is over its limit is logged once in so long. */
const LOG_PAUSE_MS = 60_000
/** What a caller with too much under way is told to wait. */
const CONCURRENT_RETRY_SECONDS = 1

interface Caller {
  bucket: TokenBucket
  inFlight: number
  loggedAtMs: number
}

export class RequestLimits {
  readonly #bounds: RequestBounds
  readonly #callers = new BoundedMap<string, Caller>(CALLERS_MAX)
  readonly #log: Logger

  constructor(bounds: RequestBounds, log: Logger) {
    this.#bounds = bounds
    this.#log = log
  }

  /**
   * Counts a request of the caller.
   * @param cost in ordinary requests
   * @returns what ends it, to be called once
   * @throws TooManyRequestsError
   */
  enter(key: string, nowMs: number, cost = 1): () => void {
    const caller = this.#callerAt(key, nowMs)
    const { requestsPerSecondMax, requestsConcurrentMax } = this.#bounds
    if (requestsConcurrentMax > 0 && caller.inFlight >= requestsConcurrentMax) {
      throw this.#refusal(key, caller, nowMs, CONCURRENT_RETRY_SECONDS)
    }
    if (requestsPerSecondMax > 0 && !caller.bucket.take(nowMs, cost)) {
      throw this.#refusal(key, caller, nowMs, caller.bucket.secondsUntil(cost))
    }
    caller.inFlight += 1
    return () => {
      caller.inFlight -= 1
    }
  }

  /** The caller's request was not of the kind that is bounded after all. */
  giveBack(key: string): void {
    this.#callers.get(key)?.bucket.giveBack()
  }

  #callerAt(key: string, nowMs: number): Caller {
    const { requestsPerSecondMax: perSecond, requestsBurstMax: burst } = this.#bounds
    const caller = this.#callers.get(key) ?? {
      bucket: new TokenBucket({ perSecond, burst }, nowMs),
      inFlight: 0,
      loggedAtMs: -Infinity,
    }
    this.#callers.set(key, caller)
    return caller
  }

  #refusal(caller: string, state: Caller, nowMs: number, retryAfterSeconds: number): TooManyRequestsError {
    const error = new TooManyRequestsError(retryAfterSeconds)
    if (nowMs - state.loggedAtMs >= LOG_PAUSE_MS) {
      state.loggedAtMs = nowMs
      this.#log.warn({ code: error.code, caller }, 'a caller asks more than it may')
    }
    return error
  }
}
