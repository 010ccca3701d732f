import { createHash } from 'node:crypto'
import type { Dispatcher } from 'undici'
import { BoundedMap } from './bounded-map.ts'
import type { Conditions } from './conditions.ts'

/** The longest time for which a registry's Retry-After is obeyed. Then it is asked again. */
export const RETRY_AFTER_MS_MAX = 60_000
/** Bound of credentials that a registry limits. */
export const LIMITED_CREDENTIALS_MAX = 1024
/** For so long after a request of this process's own, that request may be why a caller meets the registry's limit. */
export const OWN_REQUEST_MS = 60_000
/** The time to wait after a 429 without a Retry-After that can be read. */
export const RETRY_AFTER_MS_DEFAULT = 5_000

type AnswerHeaders = Record<string, string | string[] | undefined>

/** Milliseconds that a Retry-After header asks for: seconds or an HTTP date (RFC 9110 §10.2.3). Bounded. */
export function retryAfterMs(header: string | string[] | undefined, nowMs: number): number {
  const text = typeof header === 'string' ? header.trim() : ''
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  if (Number.isNaN(ms)) return RETRY_AFTER_MS_DEFAULT
  return Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms))
}

/**
 * Remembers to which credentials a registry answered 429 (RFC 6585 §4), so that this process asks it nothing with them until
 * then. Registries limit accounts, or addresses: one caller's limit must not stop the others.
 */
export class RegistryLimit {
  readonly #nowMs: () => number
  /** By a hash of the Authorization header; the oldest are forgotten, and meet their next 429. */
  readonly #untilMs = new BoundedMap<string, number>(LIMITED_CREDENTIALS_MAX)
  #askedAtMs = Number.NEGATIVE_INFINITY
  #onLimited: (forMs: number) => void = () => undefined

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** Milliseconds until the registry may be asked with this Authorization header again; 0 if it may be asked now. */
  leftMs(authorization: string | undefined): number {
    return Math.max(0, (this.#untilMs.get(nameOf(authorization)) ?? 0) - this.#nowMs())
  }

  /** This process asked the registry something of its own lately. */
  get hasAskedLately(): boolean {
    return this.#nowMs() - this.#askedAtMs < OWN_REQUEST_MS
  }

  asked(): void {
    this.#askedAtMs = this.#nowMs()
  }

  /** @param onLimited called with the time to wait, each time that it becomes longer for somebody */
  watch(onLimited: (forMs: number) => void): void {
    this.#onLimited = onLimited
  }

  /** The registry answered a request with this Authorization header. */
  note(
    { statusCode, headers }: { statusCode: number; headers: AnswerHeaders },
    authorization: string | undefined,
  ): void {
    if (statusCode !== 429) return
    const waitMs = retryAfterMs(headers['retry-after'], this.#nowMs())
    if (waitMs <= this.leftMs(authorization)) return
    this.#untilMs.set(nameOf(authorization), this.#nowMs() + waitMs)
    this.#onLimited(waitMs)
  }
}

/** A credential is a secret, and as long as its sender likes. */
function nameOf(authorization: string | undefined): string {
  return authorization === undefined ? '' : createHash('sha256').update(authorization).digest('base64')
}

/** The Authorization header of a request of this process's own, which names its headers in an object. */
function authorizationIn({ headers }: Dispatcher.DispatchOptions): string | undefined {
  const { authorization } = (headers ?? {}) as { authorization?: string }
  return authorization
}

/** For `compose`: notes every answer. For requests of this process's own. */
export function noting(limit: RegistryLimit): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    limit.asked()
    const authorization = authorizationIn(options)
    return dispatch(options, {
      onRequestStart: (...given) => handler.onRequestStart?.(...given),
      onRequestUpgrade: (...given) => handler.onRequestUpgrade?.(...given),
      onResponseStart: (...given) => {
        const [, statusCode, headers] = given
        limit.note({ statusCode, headers }, authorization)
        handler.onResponseStart?.(...given)
      },
      onResponseData: (...given) => handler.onResponseData?.(...given),
      onResponseEnd: (...given) => handler.onResponseEnd?.(...given),
      onResponseError: (...given) => handler.onResponseError?.(...given),
    })
  }
}

/** Shows the operator for how long a registry is left in peace. */
export function showLimit(
  { host, limit }: { host: string; limit: RegistryLimit },
  conditions: Conditions,
): void {
  limit.watch((forMs) => {
    const facts = { seconds: Math.ceil(forMs / 1000) }
    conditions.raise('REGISTRY_RATE_LIMITED', host, facts, { untilMs: Date.now() + forMs })
  })
}
