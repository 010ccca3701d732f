import { STATES, type Transfer } from './report.ts'

/**
 * Which transfers count when others took part of the machine meanwhile. Pure. A turn is what one set of processes
 * transfers in one round: an attempt is the turn as it was, or as it was run again.
 */

/** Cores that others may use during a transfer. A quiet machine's own daemons and kernel threads need up to 0.15. */
export const OTHERS_CORES_MAX = 0.2
/** Times that one turn is run again; each is in the report. */
export const RERUNS_MAX = 2

export function isDisturbed({ othersCores }: Pick<Transfer, 'othersCores'>): boolean {
  return othersCores > OTHERS_CORES_MAX
}

/** Whether the turn must run again: some state was disturbed in every attempt so far. */
export function runsAgain(attempts: readonly Transfer[][]): boolean {
  return attempts.length <= RERUNS_MAX && byState(attempts).some((transfers) => transfers.every(isDisturbed))
}

/**
 * One transfer of each state counts: the first undisturbed one, or else the least disturbed.
 * @returns the transfers of all attempts
 */
export function settled(attempts: readonly Transfer[][]): Transfer[] {
  const counted = new Set(byState(attempts).map(countedOf))
  return attempts.flat().map((transfer) => ({ ...transfer, isCounted: counted.has(transfer) }))
}

function countedOf(transfers: Transfer[]): Transfer {
  const quietest = transfers.toSorted((a, b) => a.othersCores - b.othersCores)[0]!
  return transfers.find((transfer) => !isDisturbed(transfer)) ?? quietest
}

function byState(attempts: readonly Transfer[][]): Transfer[][] {
  const transfers = attempts.flat()
  return STATES.map((state) => transfers.filter((transfer) => transfer.state === state)).filter(
    (ofState) => ofState.length > 0,
  )
}
