/** Runs `work` for every item, at most `runningMax` at a time. */
export async function inTurns<Item>(
  items: readonly Item[],
  runningMax: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const queue = items.values()
  const runner = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(runningMax, items.length) }, runner))
}
