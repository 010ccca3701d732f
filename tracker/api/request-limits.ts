import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { BoundedMap } from '../../core/bounded-map.ts'
import { TooManyRequestsError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { callerKeyOn } from './caller.ts'

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
  tokens: number
  filledAtMs: number
  underWay: number
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
   * @returns what ends it, to be called once
   * @throws TooManyRequestsError
   */
  enter(key: string, nowMs: number): () => void {
    const caller = this.#callerAt(key, nowMs)
    const { requestsConcurrentMax } = this.#bounds
    if (requestsConcurrentMax > 0 && caller.underWay >= requestsConcurrentMax) {
      throw this.#refusal(key, caller, nowMs, CONCURRENT_RETRY_SECONDS)
    }
    this.#takeToken(key, caller, nowMs)
    caller.underWay += 1
    return () => {
      caller.underWay -= 1
    }
  }

  /** The caller's request was not of the kind that is bounded after all. */
  giveBack(key: string): void {
    const caller = this.#callers.get(key)
    if (caller !== undefined) caller.tokens = Math.min(this.#bounds.requestsBurstMax, caller.tokens + 1)
  }

  #callerAt(key: string, nowMs: number): Caller {
    const known = this.#callers.get(key)
    const full = {
      tokens: this.#bounds.requestsBurstMax,
      filledAtMs: nowMs,
      underWay: 0,
      loggedAtMs: -Infinity,
    }
    const caller = known ?? full
    this.#callers.set(key, caller)
    return caller
  }

  #takeToken(key: string, caller: Caller, nowMs: number): void {
    const { requestsPerSecondMax, requestsBurstMax } = this.#bounds
    if (requestsPerSecondMax === 0) return
    // A clock that was set back gains nobody anything, and takes nothing away.
    const gained = (Math.max(0, nowMs - caller.filledAtMs) / 1000) * requestsPerSecondMax
    caller.tokens = Math.min(requestsBurstMax, caller.tokens + gained)
    caller.filledAtMs = nowMs
    if (caller.tokens < 1) {
      throw this.#refusal(key, caller, nowMs, Math.ceil((1 - caller.tokens) / requestsPerSecondMax))
    }
    caller.tokens -= 1
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

/** Puts the limits before every route of the listener. To be called before routes are added. */
export function limitRequests(app: FastifyInstance, parts: TrackerParts, bounds: RequestBounds): void {
  const limits = new RequestLimits(bounds, parts.log)
  app.addHook('onRequest', async (request: FastifyRequest, reply) => {
    const leave = limits.enter(callerKeyOn(parts, request.raw.socket as TLSSocket), parts.nowMs())
    reply.raw.once('close', leave)
  })
}
