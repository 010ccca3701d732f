import type { Logger } from 'pino'
import { BoundedMap } from '../core/bounded-map.ts'
import { TooManyRequestsError } from './errors.ts'
import { TokenBucket } from './token-bucket.ts'

/**
 * Limits of one caller: a token bucket for the rate, and a bound of requests in flight. The caller is the node that the
 * certificate names. Without a certificate (joins) it is the source address, for IPv6 its /64. Applied before a body is read.
 */
export interface RequestBounds {
  /** Rate at which the bucket refills, per second; 0: no limit. */
  requestsPerSecondMax: number
  /** Size of the bucket. */
  requestsBurstMax: number
  /** Requests of one caller in flight; 0: no limit. */
  requestsConcurrentMax: number
}

/** Bound of remembered callers: the longest idle is forgotten first, and then starts with a full bucket. */
const CALLERS_MAX = 20_000
/** A caller above its limit is logged once in this time. */
const LOG_PAUSE_MS = 60_000
/** Wait for a caller with too many requests in flight. */
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
   * @returns a function that ends the request; call it once
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

  /** Returns the cost of a request that turned out not to count. */
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
      this.#log.warn({ code: error.code, caller }, 'a caller exceeds its limit of requests')
    }
    return error
  }
}
