import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { AuditEntry } from './audit.ts'
import type { NewRevocation } from './revocations.ts'

/** A store that a backup was restored into. */
export interface RestoreRecord {
  restoredAtMs: number
  /** When the backup was taken. */
  backupAtMs: number
  /** The newest revocation of the backup: what has a higher number up to the gap was lost with the store of before. */
  revocationsFrom: number
  /** When an operator let the tracker grant again; null: not yet. */
  confirmedAtMs: number | null
}

/** A signed copy that nodes brought. */
export interface LearnedRecord {
  cluster: ClusterId
  /** SHA-256 (hex) of the copy. */
  id: string
  copy: string
  /** Nodes that brought it. */
  nodes: number
}

export interface RestoreStore {
  /** The newest one; undefined where nothing was restored. */
  lastRestore(): Promise<RestoreRecord | undefined>
  learned(): Promise<LearnedRecord[]>
  /** Nodes that told what they carry. */
  heardNodes(): Promise<{ cluster: ClusterId; node: NodeId }[]>
  /**
   * Notes what a node carries, once for each node.
   * @returns ids of the copies that no node brought before
   */
  learn(
    from: { cluster: ClusterId; node: NodeId; atMs: number },
    copies: ReadonlyMap<string, string>,
  ): Promise<string[]>
  /**
   * Puts the revocations into force, each with an entry of its own, and ends the waiting, in one step.
   * @returns false if nothing waits; then nothing changes
   */
  confirmRestore(revocations: readonly NewRevocation[], audit: AuditEntry): Promise<boolean>
}

/**
 * Numbers that a restored store leaves out: more than any tracker gives between two backups. Every number that nodes heard
 * from the tracker of before is below, so all of them get the whole list again.
 */
export const REVOCATIONS_GAP = 2 ** 20

/** In the audit log: a revocation that a node brought. */
export const LEARNED = 'revocation learned from nodes'

export function learnedEntry(audit: AuditEntry, { cluster, target }: NewRevocation): AuditEntry {
  return { ...audit, action: LEARNED, cluster, target }
}
