import type { Digest } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'

/**
 * What the tracker decides from in memory and saves a moment later (tracker/saved-memory.ts), so that a restart forgets
 * next to nothing. Has no credential: of a token only the hash of the whole Authorization.
 */

/** Where a node is reached, and what it has. */
export interface PresenceRecord {
  cluster: ClusterId
  node: NodeId
  address: string
  port: number
  /** The newest wire version that it speaks. */
  wire: number
  /** This and the next: '' if it has none. */
  zone: string
  rack: string
  holds: { swarm: SwarmId; isSeed: boolean }[]
}

/** The registry accepted a signed token for a repository. */
export interface AcceptanceRecord {
  /** A hash of the repository and the whole Authorization. */
  id: string
  /** The blob that the registry served. */
  digest: Digest
  untilMs: number
}

/** A blob is in a repository. */
export interface MembershipRecord {
  /** Registry, repository and digest, separated by spaces. */
  id: string
  /** Null if the registry gave no length. */
  bytes: number | null
  untilMs: number
}

/** A record with proof that a tracker wrote it (pull/stored-answers.ts); null in what an earlier version stored. */
export type Marked<Answer> = Answer & { mark: Buffer | null }

export interface MemoryRecord {
  presences: PresenceRecord[]
  acceptances: Marked<AcceptanceRecord>[]
  memberships: Marked<MembershipRecord>[]
}

/** Records that replace those with the same node or id. */
export interface MemoryChange extends MemoryRecord {
  gone: Pick<PresenceRecord, 'cluster' | 'node'>[]
}

/** How much memory takes: a file may hold more, of a tracker with other bounds. */
export interface MemoryBounds {
  presencesMax: number
  acceptancesMax: number
  membershipsMax: number
}

export interface MemoryStore {
  /**
   * What counts at `nowMs`; acceptances and memberships with the first to end in front, of too many those that end last.
   */
  memory(nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord>
  /** A crash of the machine may undo the newest change. */
  saveMemory(change: MemoryChange): Promise<void>
}
