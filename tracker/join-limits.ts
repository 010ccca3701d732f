import type { Logger } from 'pino'
import type { ClusterId } from '../core/metainfo.ts'
import { RequestLimits } from './request-limits.ts'

/** With one join token, this many addresses may each use their whole burst: a fleet of 8,000 by default. */
const ADDRESSES_AT_ONCE = 8
/** With one join token, this many addresses may each use their whole rate, so that one cannot use up the others' share. */
const ADDRESSES_IN_THE_LONG_RUN = 4

export interface JoinBounds {
  joinsBurstMax: number
  /** 0: no limit. */
  joinsPerHourMax: number
}

/**
 * Bounds how many nodes may join: ids cost nothing, and each takes a row of the store until the node is forgotten. With the
 * defaults (1,000 at once, 600 an hour) a join token permits 57,600 rows a day (12 MB) and as many lines of the audit log
 * (8 MB). 1,000 nodes behind one address may join at once; the bound on handshakes spreads them over 25 s.
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

  /** Counts a new node that showed the cluster's join token. @throws TooManyRequestsError */
  enter(network: string, cluster: ClusterId, nowMs: number): void {
    this.#ofNetworks.enter(`joins from ${network}`, nowMs)()
    this.#ofTokens.enter(`joins of ${cluster}`, nowMs)()
  }
}
