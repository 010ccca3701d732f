import type { SharedStore, TrackersNews } from './changes.ts'

/** The part for several trackers, of a store that one process owns. */
export class UnsharedStore implements SharedStore {
  readonly isShared = false

  async watch(): Promise<void> {}

  usesDataKey(): void {}

  async clockOffsetMs(): Promise<number> {
    return 0
  }

  async meetTrackers(cursor: number): Promise<TrackersNews> {
    return { cursor, alive: [], presences: [] }
  }
}
