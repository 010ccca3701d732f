import type { Logger } from 'pino'
import { RefusedError } from '../errors.ts'
import { RequestLimits } from '../request-limits.ts'

/** Average of grants refused to one caller per minute … */
export const FAILED_GRANTS_PER_MINUTE_MAX = 30
/** … and in a burst after a quiet time: as many as it may have in flight. */
export const FAILED_GRANTS_BURST_MAX = 64
/** Average of one caller's passwords and opaque tokens that registries refuse per minute … */
export const REFUSED_CREDENTIALS_PER_MINUTE_MAX = 2
/** … and in a burst after a quiet time; also how many credentials of one caller may be checked at a time. */
export const REFUSED_CREDENTIALS_BURST_MAX = 32
/** The same for all callers of one network at one registry: many nodes may stand behind one address. */
export const NETWORK_CREDENTIALS_PER_MINUTE_MAX = 16
/** At once after a quiet time. */
export const NETWORK_CREDENTIALS_BURST_MAX = 256

/**
 * Bounds how often a caller may be refused a grant. A refused grant costs the tracker a verification and requests to the
 * registry, and no other limit counts it. Where the registry decides by a password, each refusal is a guess that the
 * registry attributes to the tracker.
 */
export class FailedGrants {
  readonly #failures: RequestLimits
  readonly #guesses: RequestLimits
  readonly #networkGuesses: RequestLimits

  constructor(log: Logger) {
    this.#failures = perMinute(FAILED_GRANTS_PER_MINUTE_MAX, FAILED_GRANTS_BURST_MAX, log)
    this.#guesses = perMinute(REFUSED_CREDENTIALS_PER_MINUTE_MAX, REFUSED_CREDENTIALS_BURST_MAX, log)
    this.#networkGuesses = perMinute(NETWORK_CREDENTIALS_PER_MINUTE_MAX, NETWORK_CREDENTIALS_BURST_MAX, log)
  }

  /**
   * Runs the work and counts it if it is refused. A registry that is unreachable or told the tracker to wait does not count.
   * @param key names the caller
   * @param isGuess only the registry can tell whether the credential is right
   * @param network where it comes from; node ids cost nothing, so guesses count for their network as well
   * @throws TooManyRequestsError before any work, when the caller has no failure left; whatever the work throws
   */
  async run<Result>(
    { key, network, isGuess, nowMs }: { key: string; network: string; isGuess: boolean; nowMs: number },
    work: () => Promise<Result>,
  ): Promise<Result> {
    const taken: { limit: RequestLimits; of: string }[] = []
    const giveBack = () => {
      for (const { limit, of } of taken) limit.giveBack(of)
    }
    const failures = { limit: this.#failures, of: key }
    const guesses = [
      { limit: this.#guesses, of: key },
      { limit: this.#networkGuesses, of: network },
    ]
    try {
      // Count first, or a caller could fail once for each request in flight.
      for (const bound of isGuess ? [...guesses, failures] : [failures]) {
        bound.limit.enter(bound.of, nowMs)()
        taken.push(bound)
      }
      const result = await work()
      giveBack()
      return result
    } catch (error) {
      if (error instanceof RefusedError && UNCOUNTED.has(error.code)) giveBack()
      throw error
    }
  }
}

const UNCOUNTED: ReadonlySet<string> = new Set([
  'BLOCKED',
  'REGISTRY_LIMITED',
  'REGISTRY_UNREACHABLE',
  'REQUESTS_TOO_MANY',
  'CALLER_GONE',
])

function perMinute(perMinuteMax: number, burstMax: number, log: Logger): RequestLimits {
  const bounds = { requestsPerSecondMax: perMinuteMax / 60, requestsBurstMax: burstMax }
  return new RequestLimits({ ...bounds, requestsConcurrentMax: 0 }, log)
}
