import type { Logger } from 'pino'
import type { ClusterId } from '../core/metainfo.ts'
import { RequestLimits } from './request-limits.ts'

/** So many addresses may join as many nodes as each may at once, with one join token: a fleet of 8,000 by default. */
const ADDRESSES_AT_ONCE = 8
/** And go on at their rate: nobody at one address can use up what the join token gives to others. */
const ADDRESSES_IN_THE_LONG_RUN = 4

export interface JoinBounds {
  joinsBurstMax: number
  /** 0: no limit. */
  joinsPerHourMax: number
}

/**
 * How many nodes may join: ids cost nothing, and each is a row of the store until the node is silent for long. With the
 * defaults (1,000 at once, 600 an hour) a join token is good for 57,600 rows a day, 12 MB, and as many lines of the audit
 * log, 8 MB; 1,000 nodes behind one address join at once, which handshakes spread over 25 s.
 */
export class JoinLimits {
  readonly #ofNetworks: RequestLimits
  readonly #ofTokens: RequestLimits

  constructor({ joinsBurstMax, joinsPerHourMax }: JoinBounds, log: Logger) {
    const limits = (atOnce: number, inTheLongRun: number) =>
      new RequestLimits(
        {
          requestsPerSecondMax: (joinsPerHourMax * inTheLongRun) / 3600,
          requestsBurstMax: joinsBurstMax * atOnce,
          requestsConcurrentMax: 0,
        },
        log,
      )
    this.#ofNetworks = limits(1, 1)
    this.#ofTokens = limits(ADDRESSES_AT_ONCE, ADDRESSES_IN_THE_LONG_RUN)
  }

  /** Counts a node that is new, and showed the cluster's join token. @throws TooManyRequestsError */
  enter(network: string, cluster: ClusterId, nowMs: number): void {
    this.#ofNetworks.enter(`joins from ${network}`, nowMs)()
    this.#ofTokens.enter(`joins of ${cluster}`, nowMs)()
  }
}
