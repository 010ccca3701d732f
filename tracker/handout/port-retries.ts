/** Decides when the tracker tries a node's port again. Pure: the clock is passed in. */

/** Pause after a port was not reached; doubled each time … */
export const PORT_RETRY_MS = 30_000
/** … up to this. */
export const PORT_RETRY_MS_MAX = 10 * 60_000
/** A port that was reached is tried again after this time. */
export const PORT_RECHECK_MS = 60 * 60_000
/** Pause before a trial at another port or address: a node cannot make the tracker look through all ports of a gateway. */
export const PORT_CHANGE_MS = 10_000

export interface Endpoint {
  address: string
  port: number
}

/** The last trial of a node. */
export interface PortTrial extends Endpoint {
  triedAtMs: number
  /** In a row, there. */
  failures: number
}

export function isTrialDue(last: PortTrial | undefined, at: Endpoint, nowMs: number): boolean {
  if (last === undefined) return true
  return nowMs - last.triedAtMs >= pauseMs(last, at)
}

export function afterTrial(
  last: PortTrial | undefined,
  at: Endpoint,
  { isReached, nowMs }: { isReached: boolean; nowMs: number },
): PortTrial {
  const before = last !== undefined && isSame(last, at) ? last.failures : 0
  const { address, port } = at
  return { address, port, triedAtMs: nowMs, failures: isReached ? 0 : before + 1 }
}

function pauseMs(last: PortTrial, at: Endpoint): number {
  if (!isSame(last, at)) return PORT_CHANGE_MS
  if (last.failures === 0) return PORT_RECHECK_MS
  return Math.min(PORT_RETRY_MS_MAX, PORT_RETRY_MS * 2 ** (last.failures - 1))
}

function isSame(one: Endpoint, other: Endpoint): boolean {
  return one.address === other.address && one.port === other.port
}
