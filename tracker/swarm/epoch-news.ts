import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import type { EpochChange, Store } from '../store/store.ts'

/** Epoch rises that nodes must hear of, read from the store: oldest first, the newest EPOCH_CHANGES_MAX. */
export class EpochNews {
  readonly #store: Store
  #changes: EpochChange[] = []

  private constructor(store: Store) {
    this.#store = store
  }

  static async load(store: Store): Promise<EpochNews> {
    const news = new EpochNews(store)
    await news.refresh()
    return news
  }

  /** Call after every rise. */
  async refresh(): Promise<void> {
    this.#changes = await this.#store.epochChanges(0)
  }

  get newest(): number {
    return this.#changes.at(-1)?.sequence ?? 0
  }

  /** The newest epoch of every swarm of the cluster whose epoch rose after `sequence` and that `isHeld` names. */
  since(sequence: number, cluster: ClusterId, isHeld: (swarm: SwarmId) => boolean): Map<SwarmId, number> {
    const epochs = new Map<SwarmId, number>()
    for (let at = this.#changes.length - 1; at >= 0; at -= 1) {
      const change = this.#changes[at]!
      if (change.sequence <= sequence) break
      if (change.cluster !== cluster || epochs.has(change.swarm) || !isHeld(change.swarm)) continue
      epochs.set(change.swarm, change.epoch)
    }
    return epochs
  }
}
