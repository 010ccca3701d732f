/**
 * Decides which connections keep their places at a holder. Ids cost nothing. So a connection that moves no blocks
 * must give way to a newcomer, and one address may keep at most half of the places. Nobody has to go while nobody
 * waits. Pure: the clock is passed in.
 */

/** A connection's claim to its place. */
export interface Place {
  /** Where it comes from (core/network.ts); undefined for one that this node dialled, which no newcomer displaces. */
  network: string | undefined
  /** Time of the last block in either direction, or of the connection's beginning. */
  movedAtMs: number
  /** `opening`: the handshakes are not finished; `asking`: this node owes it blocks; `quiet`: neither. */
  state: 'opening' | 'asking' | 'quiet'
}

/**
 * A connection without a block for this time gives way to a newcomer. A handshake takes milliseconds, and a
 * downloader asks as soon as it is connected. One that asks may have to wait for a slot behind all others.
 */
export const GIVES_WAY_AFTER_MS = { opening: 500, quiet: 2_000, asking: 10_000 } as const

/**
 * Call with all places taken. @returns the connection that gives its place to a newcomer from `network`; undefined
 * when none does: turn the newcomer away
 */
export function whoGivesWay<Link>(
  links: readonly Link[],
  { placeOf, network, nowMs }: { placeOf(link: Link): Place; network: string; nowMs: number },
): Link | undefined {
  const accepted = links
    .map((link) => ({ link, ...placeOf(link) }))
    .filter((place) => place.network !== undefined)
    .sort((a, b) => a.movedAtMs - b.movedAtMs)
  const isIdle = ({ movedAtMs, state }: Place) => nowMs - movedAtMs >= GIVES_WAY_AFTER_MS[state]
  const counts = Map.groupBy(accepted, (place) => place.network)
  // Busy connections go only where one address has more than half, and only for a newcomer from another.
  const isGreedy = (place: Place) =>
    counts.get(place.network)!.length * 2 > links.length && place.network !== network
  return (accepted.find(isIdle) ?? accepted.find(isGreedy))?.link
}
