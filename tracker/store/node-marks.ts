import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { AuditEntry } from './audit.ts'

export interface MarkedNode {
  cluster: ClusterId
  node: NodeId
}

/** What administrators wrote on a node. */
export interface NodeMarksRecord extends MarkedNode {
  labels: Record<string, string>
  /** It is named to nobody as a peer. */
  isDrained: boolean
}

export interface NodeMarkStore {
  /** Ordered by cluster and node. */
  nodeMarks(): Promise<NodeMarksRecord[]>
  /** Replaces the node's labels, and leaves its other marks as they are. */
  putLabels(node: MarkedNode, labels: Record<string, string>, audit: AuditEntry): Promise<void>
  /** @returns false if it was so already; then nothing changes */
  putDrained(node: MarkedNode, isDrained: boolean, audit: AuditEntry): Promise<boolean>
}
