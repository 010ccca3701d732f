import type { Dispatcher } from 'undici'
import type { Conditions } from './conditions.ts'

/** The longest time for which a registry's Retry-After is obeyed. Then it is asked again. */
export const RETRY_AFTER_MS_MAX = 60_000
/** For so long after a request of this process's own, that request may be why a caller meets the registry's limit. */
export const OWN_REQUEST_MS = 60_000
/** The time to wait after a 429 without a Retry-After that can be read. */
export const RETRY_AFTER_MS_DEFAULT = 5_000

/** Milliseconds that a Retry-After header asks for: seconds or an HTTP date (RFC 9110 §10.2.3). Bounded. */
export function retryAfterMs(header: string | string[] | undefined, nowMs: number): number {
  const text = typeof header === 'string' ? header.trim() : ''
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  if (Number.isNaN(ms)) return RETRY_AFTER_MS_DEFAULT
  return Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms))
}

/** Remembers that a registry answered 429 (RFC 6585 §4), so that this process asks it nothing of its own until then. */
export class RegistryLimit {
  readonly #nowMs: () => number
  #untilMs = 0
  #askedAtMs = Number.NEGATIVE_INFINITY
  #onLimited: (forMs: number) => void = () => undefined

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** Milliseconds until the registry may be asked again; 0 if it may be asked now. */
  get leftMs(): number {
    return Math.max(0, this.#untilMs - this.#nowMs())
  }

  /** This process asked the registry something of its own lately. */
  get hasAskedLately(): boolean {
    return this.#nowMs() - this.#askedAtMs < OWN_REQUEST_MS
  }

  asked(): void {
    this.#askedAtMs = this.#nowMs()
  }

  /** @param onLimited called with the time to wait, each time that it becomes longer */
  watch(onLimited: (forMs: number) => void): void {
    this.#onLimited = onLimited
  }

  /** The registry answered a request. */
  note({
    statusCode,
    headers,
  }: {
    statusCode: number
    headers: Record<string, string | string[] | undefined>
  }): void {
    if (statusCode !== 429) return
    const nowMs = this.#nowMs()
    const untilMs = nowMs + retryAfterMs(headers['retry-after'], nowMs)
    if (untilMs <= this.#untilMs) return
    this.#untilMs = untilMs
    this.#onLimited(untilMs - nowMs)
  }
}

/** For `compose`: notes every answer. For requests of this process's own. */
export function noting(limit: RegistryLimit): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    limit.asked()
    return dispatch(options, {
      onRequestStart: (...given) => handler.onRequestStart?.(...given),
      onRequestUpgrade: (...given) => handler.onRequestUpgrade?.(...given),
      onResponseStart: (...given) => {
        const [, statusCode, headers] = given
        limit.note({ statusCode, headers })
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
