import type { Logger } from 'pino'
import type { RegistryClient } from '../../core/registry-client.ts'
import { RefusedError } from '../errors.ts'
import { RequestLimits } from '../request-limits.ts'

/** Grants refused to one caller per minute in the long run … */
export const FAILED_GRANTS_PER_MINUTE_MAX = 30
/** … and at once after a quiet time: as many as it may have under way. */
export const FAILED_GRANTS_BURST_MAX = 64
/** Credentials of one caller that a registry of kind `introspect` refuses, per minute in the long run … */
export const REFUSED_CREDENTIALS_PER_MINUTE_MAX = 2
/** … and at once after a quiet time; also how many credentials of one caller may be asked about at a time. */
export const REFUSED_CREDENTIALS_BURST_MAX = 32

/**
 * How often a caller may be refused a grant. A grant that is refused costs the tracker a verification and requests to the
 * registry, and leaves nothing behind that would bound it; where the registry decides by a password, each is a guess
 * that the registry sees as the tracker's.
 */
export class FailedGrants {
  readonly #failures: RequestLimits
  readonly #guesses: RequestLimits

  constructor(log: Logger) {
    this.#failures = perMinute(FAILED_GRANTS_PER_MINUTE_MAX, FAILED_GRANTS_BURST_MAX, log)
    this.#guesses = perMinute(REFUSED_CREDENTIALS_PER_MINUTE_MAX, REFUSED_CREDENTIALS_BURST_MAX, log)
  }

  /**
   * Runs the work, which counts when it is refused. That a registry cannot be reached is nobody's failure.
   * @param key names the caller
   * @throws TooManyRequestsError before any work, when the caller has no failure left; whatever the work throws
   */
  async run<Result>(
    { key, kind, nowMs }: { key: string; kind: RegistryClient['kind']; nowMs: number },
    work: () => Promise<Result>,
  ): Promise<Result> {
    const taken: RequestLimits[] = []
    const giveBack = () => {
      for (const limit of taken) limit.giveBack(key)
    }
    try {
      // Taken first, else a caller fails as often as it has requests under way.
      for (const limit of kind === 'introspect' ? [this.#guesses, this.#failures] : [this.#failures]) {
        limit.enter(key, nowMs)()
        taken.push(limit)
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

const UNCOUNTED: ReadonlySet<string> = new Set(['REGISTRY_UNREACHABLE', 'REQUESTS_TOO_MANY'])

function perMinute(perMinuteMax: number, burstMax: number, log: Logger): RequestLimits {
  const bounds = { requestsPerSecondMax: perMinuteMax / 60, requestsBurstMax: burstMax }
  return new RequestLimits({ ...bounds, requestsConcurrentMax: 0 }, log)
}
