/**
 * Who has a place at a holder. A place is for whoever takes or gives blocks: ids cost nothing, so a connection that moves
 * nothing has no right to stay when another comes, and one address no right to more than half. With nobody waiting,
 * nobody has to go. Pure: the clock is passed in.
 */

/** What a connection has to show for its place. */
export interface Place {
  /** Where it comes from (core/network.ts); undefined for one that this node dialled, which no newcomer displaces. */
  network: string | undefined
  /** When a block last went either way, or else when it began. */
  movedAtMs: number
  /** Connecting, handshakes not through; asking for blocks that this node owes it; or neither. */
  state: 'opening' | 'asking' | 'quiet'
}

/**
 * After so long without a block each gives way to a newcomer. A handshake takes milliseconds; whoever downloads asks as
 * soon as it is connected; and whoever asks may wait for its turn behind all others.
 */
export const GIVES_WAY_AFTER_MS = { opening: 500, quiet: 2_000, asking: 10_000 } as const

/** With all places taken: the connection whose place a newcomer from `network` gets; undefined: none, turn it away. */
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
  // Busy ones go only where one address has more than half, and the newcomer comes from another.
  const isGreedy = (place: Place) =>
    counts.get(place.network)!.length * 2 > links.length && place.network !== network
  return (accepted.find(isIdle) ?? accepted.find(isGreedy))?.link
}
