/**
 * Decides how many of an asker's peers are in its own zone: most near, a few far, so that what one zone has reaches the
 * others. Pure: the policies of this folder choose among the near and among the far ones.
 */

/**
 * Far nodes among those that an asker hears of, where its own zone has enough others: with 1 to 4 a flash pull in three zones took 4.9, 5.0, 5.7 and 6.2
 * blob times, and 3.8, 4.0, 4.6 and 5.3 copies from the registry (simulated, 300 nodes, docs/performance-sim.md). Two, so that one that
 * is gone is no matter.
 */
export const FAR_PEERS_MAX = 2

export interface Chosen<Item> {
  near: Item[]
  far: Item[]
}

/**
 * @param choose up to so many near or far ones, without those that it chose before
 * @param max of both together
 * @returns as many near ones as there are, but for the places of a few far ones; a zone without enough nodes is filled up
 *   from the others, and one that has nobody else left takes those places too
 */
export function nearAndFar<Item>(
  max: number,
  choose: (which: 'near' | 'far', count: number) => Item[],
): Chosen<Item> {
  const near = choose('near', max - Math.min(FAR_PEERS_MAX, max))
  const far = choose('far', max - near.length)
  const left = max - near.length - far.length
  return { near: left > 0 ? [...near, ...choose('near', left)] : near, far }
}
