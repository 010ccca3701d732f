import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { AcceptanceRecord, Marked, MembershipRecord, PresenceRecord } from './memory.ts'

/** What trackers keep in memory too, and read again when another tracker of the same store has changed it. */
export const STORE_CHANGES = [
  'clusters',
  'adminTokens',
  'nodeMarks',
  'pauses',
  'revocations',
  'tokenKeys',
  'epochs',
  'dataKey',
  'registriesNotOpen',
  'restore',
] as const

export type StoreChange = (typeof STORE_CHANGES)[number]

/** A node that another tracker hears of. `holds` is empty when it is gone from there. */
export interface PresenceElsewhere extends PresenceRecord {
  /** Id of that tracker's process. */
  tracker: string
}

/** What the other trackers of the store saw. */
export interface TrackersNews {
  /** For the next question. */
  cursor: number
  /** Those that were heard of within the given time. */
  alive: string[]
  /** Changed since the cursor of the question. */
  presences: PresenceElsewhere[]
}

/** The part of the store for several trackers. */
export interface SharedStore {
  /** Other processes may use the store too. */
  readonly isShared: boolean
  /**
   * Calls the listener after another tracker may have changed something, for as long as the store is open. Never where one
   * process owns the store.
   */
  watch(onChange: (what: StoreChange) => void): Promise<void>
  /** The data key that is stored so seals what this tracker stores: nothing is stored after another tracker replaced it. */
  usesDataKey(sealed: Buffer): void
  /** How far this machine's clock is behind the store's, in ms: trackers of one store agree about time. */
  clockOffsetMs(): Promise<number>
  /** What another tracker saved; undefined where one process owns the store, which has it in memory. */
  acceptance(id: string): Promise<Marked<AcceptanceRecord> | undefined>
  /** What another tracker saved; undefined where one process owns the store, which has it in memory. */
  membership(id: string): Promise<Marked<MembershipRecord> | undefined>
  /** The versions of swarms that exist, in one step; none where one process owns the store. @param swarms at least one */
  swarmVersions(cluster: ClusterId, swarms: readonly SwarmId[]): Promise<Map<SwarmId, number>>
  /** Registries of kind `none` that asked any tracker of the store for a credential. */
  registriesNotOpen(): Promise<RegistryHost[]>
  putRegistryNotOpen(registry: RegistryHost): Promise<void>
  /** Says that this tracker is alive, and asks for the others. @param silentMs who was silent for longer is not alive */
  meetTrackers(cursor: number, silentMs: number): Promise<TrackersNews>
}
