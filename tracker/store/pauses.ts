import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { AuditEntry } from './audit.ts'

/** What is to stand aside: a node, or a whole cluster. */
export interface PauseTarget {
  cluster: ClusterId
  /** Null: every node of the cluster, also those that join later. */
  node: NodeId | null
}

export interface PauseRecord extends PauseTarget {
  atMs: number
}

export interface PauseStore {
  /** Ordered by cluster and node, a cluster's own first. */
  pauses(): Promise<PauseRecord[]>
  /** @returns false if it was so already; then nothing changes */
  putPause(pause: PauseRecord, audit: AuditEntry): Promise<boolean>
  /** @returns false if there is none; then nothing changes */
  removePause(target: PauseTarget, audit: AuditEntry): Promise<boolean>
}
