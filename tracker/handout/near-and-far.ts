/**
 * Decides how many of an asker's peers are near it: most, and a few of each ring farther out, so that what one rack or zone
 * has reaches the others. Pure: the policies of this folder choose among the nodes of each ring.
 */

/**
 * Nodes of each farther ring among those that an asker hears of, where nearer ones are enough: with 1 to 4 a flash pull in three
 * zones took 4.9, 5.0, 5.7 and 6.2 blob times, and 3.8, 4.0, 4.6 and 5.3 copies from the registry (simulated, 300 nodes,
 * docs/performance-sim.md). Two, so that one that is gone is no matter.
 */
export const FAR_PEERS_MAX = 2

/**
 * @param max of all together
 * @param rings around the asker: its rack, the rest of its zone, the rest of the cluster; or fewer
 * @param choose up to so many of a ring, without those that it chose before
 * @returns as many of the nearest ring as there are, but for a few places of each ring farther out; then of the next. Places
 *   that farther nodes leave free go to nearer ones.
 */
export function nearestFirst<Item>(
  max: number,
  rings: number,
  choose: (ring: number, count: number) => Item[],
): Item[] {
  const chosen: Item[] = []
  const take = (ring: number, count: number) => {
    if (count > 0) chosen.push(...choose(ring, count))
  }
  for (let ring = 0; ring < rings; ring += 1)
    take(ring, max - chosen.length - FAR_PEERS_MAX * (rings - 1 - ring))
  for (let ring = 0; ring < rings - 1; ring += 1) take(ring, max - chosen.length)
  return chosen
}
