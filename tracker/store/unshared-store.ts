import type { SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { SharedStore, TrackersNews } from './changes.ts'

/** The part for several trackers, of a store that one process owns. */
export class UnsharedStore implements SharedStore {
  readonly isShared = false

  async watch(): Promise<void> {}

  usesDataKey(): void {}

  async clockOffsetMs(): Promise<number> {
    return 0
  }

  async acceptance(): Promise<undefined> {}

  async membership(): Promise<undefined> {}

  async swarmVersions(): Promise<Map<SwarmId, number>> {
    return new Map()
  }

  async registriesNotOpen(): Promise<RegistryHost[]> {
    return []
  }

  async putRegistryNotOpen(): Promise<void> {}

  async meetTrackers(cursor: number): Promise<TrackersNews> {
    return { cursor, alive: [], presences: [] }
  }
}
