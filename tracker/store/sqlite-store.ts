import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { AuditEntry, AuditFilter } from './audit.ts'
import type { BlockRecord, BlocksRecord } from './blocks.ts'
import type {
  ImageBlobsAsked,
  ImageFilter,
  ImageLine,
  PullFilter,
  PullLine,
  SwarmFilter,
  SwarmLine,
} from './browse.ts'
import type { JoinTokenRecord } from './join-tokens.ts'
import type { MemoryBounds, MemoryChange, MemoryRecord } from './memory.ts'
import type { MarkedNode, NodeMarksRecord } from './node-marks.ts'
import type { PauseRecord, PauseTarget } from './pauses.ts'
import { bytes } from './records.ts'
import type { NewRevocation, RevocationsRecord } from './revocations.ts'
import { auditRows, insertAuditRow } from './sqlite-audit.ts'
import { blockRows, insertBlockRow, removeBlockRow } from './sqlite-blocks.ts'
import { imageBlobRows, imageLineRows, pullLineRows, swarmLineRows } from './sqlite-browse.ts'
import {
  addJoinTokenRow,
  joinTokenRows,
  useJoinTokenRow,
  withdrawJoinTokenRow,
} from './sqlite-join-tokens.ts'
import { memoryRows, putMemoryRows } from './sqlite-memory.ts'
import { nodeMarkRows, putDrainedRow, putLabelsRow } from './sqlite-node-marks.ts'
import { hasNodeRow, nodeRows, putNodeRow, removeNodeRow, renewNodeRow } from './sqlite-nodes.ts'
import { deletePauseRow, pauseRows, putPauseRow } from './sqlite-pauses.ts'
import { pruneRows } from './sqlite-prune.ts'
import {
  completePullBlobRows,
  hasPullRowSince,
  insertPullRows,
  loadPullRows,
  newestPullRow,
} from './sqlite-pulls.ts'
import { SqliteRestoreStore } from './sqlite-restores.ts'
import { clearRevocationRow, insertRevocationRow, revocationRows } from './sqlite-revocations.ts'
import { changeSwarmRows, epochChangeRows, loadSwarmRows } from './sqlite-swarms.ts'
import type {
  EpochChange,
  NodeRecord,
  NodeSwarm,
  PruneBounds,
  PullExtension,
  PullRecord,
  Store,
  SwarmChange,
  SwarmIdentity,
  SwarmRecord,
} from './store.ts'

/** The embedded store: one SQLite file, one process. */
export class SqliteStore extends SqliteRestoreStore implements Store {
  async joinTokens(cluster: ClusterId): Promise<JoinTokenRecord[]> {
    return joinTokenRows(this.db, cluster)
  }

  async addJoinToken(
    token: JoinTokenRecord,
    { replaces }: { replaces: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    this.recorded('durably', audit, () => addJoinTokenRow(this.db, token, { replaces, nowMs: audit.atMs }))
  }

  async withdrawJoinToken(cluster: ClusterId, id: string, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => withdrawJoinTokenRow(this.db, cluster, id, audit.atMs))
  }

  async putNode(node: NodeRecord, audit: AuditEntry, joinToken?: string): Promise<boolean> {
    return this.recorded('atomically', audit, () => {
      const isUse = joinToken !== undefined && !hasNodeRow(this.db, node.cluster, node.node)
      if (isUse && !useJoinTokenRow(this.db, joinToken)) return false
      putNodeRow(this.db, node)
      return true
    })
  }

  async renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean> {
    return this.recorded('atomically', audit, () => renewNodeRow(this.db, node))
  }

  async removeNode(cluster: ClusterId, node: NodeId, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => removeNodeRow(this.db, cluster, node))
  }

  async hasNode(cluster: ClusterId, node: NodeId): Promise<boolean> {
    return hasNodeRow(this.db, cluster, node)
  }

  async nodes(cluster?: ClusterId): Promise<NodeRecord[]> {
    return nodeRows(this.db, cluster)
  }

  putPull(pull: PullRecord, audit: AuditEntry): Promise<void> {
    return this.db.together(() => {
      insertPullRows(this.db, pull)
      insertAuditRow(this.db, audit)
    })
  }

  async pull(id: string): Promise<PullRecord | undefined> {
    return loadPullRows(this.db, id)
  }

  async extendPull(id: string, { expiresAtMs, tokenHash }: PullExtension, audit: AuditEntry): Promise<void> {
    this.recorded('atomically', audit, () => {
      const update = 'UPDATE pulls SET expires_at_ms = ?, token_hash = ? WHERE id = ?'
      this.db.run(update, expiresAtMs, tokenHash, id)
    })
  }

  async completePullBlobs(blob: NodeSwarm, atMs: number): Promise<void> {
    completePullBlobRows(this.db, blob, atMs)
  }

  async hasPullSince(blob: NodeSwarm, sinceMs: number): Promise<boolean> {
    return hasPullRowSince(this.db, blob, sinceMs)
  }

  async newestPull(blob: NodeSwarm): Promise<PullRecord | undefined> {
    return newestPullRow(this.db, blob)
  }

  async swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined> {
    const row = this.db.get('SELECT version FROM swarms WHERE id = ? AND cluster = ?', swarm, cluster)
    return row?.version as number | undefined
  }

  async loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined> {
    return loadSwarmRows(this.db, cluster, swarm)
  }

  async ensureSwarm(identity: SwarmIdentity): Promise<void> {
    this.db.run(
      'INSERT INTO swarms (id, cluster, registry, digest, bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      identity.swarm,
      identity.cluster,
      identity.registry,
      identity.digest,
      identity.bytes,
    )
  }

  async saveSwarm(swarm: SwarmId, expectedVersion: number, change: SwarmChange): Promise<void> {
    const write = () => {
      changeSwarmRows(this.db, swarm, expectedVersion, change)
      for (const entry of change.audit) insertAuditRow(this.db, entry)
    }
    // A risen epoch must not fall back: nodes would refuse everything signed since.
    if (change.dropCompletions) this.db.durably(write)
    else await this.db.together(write)
  }

  async putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void> {
    this.db.run('INSERT INTO pieces_sha1 VALUES (?, ?, ?) ON CONFLICT DO NOTHING', swarm, node, hashes)
  }

  async piecesSha1(swarm: SwarmId): Promise<Buffer | undefined> {
    const row = this.db.get('SELECT hashes FROM pieces_sha1 WHERE swarm = ?', swarm)
    return row === undefined ? undefined : bytes(row.hashes)
  }

  async epochChanges(sequence: number): Promise<EpochChange[]> {
    return epochChangeRows(this.db, sequence)
  }

  async addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number> {
    return this.recorded('durably', audit, () => insertRevocationRow(this.db, revocation))
  }

  async clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => clearRevocationRow(this.db, sequence, audit.atMs))
  }

  async revocations(): Promise<RevocationsRecord> {
    return revocationRows(this.db)
  }

  async pauses(): Promise<PauseRecord[]> {
    return pauseRows(this.db)
  }

  async putPause(pause: PauseRecord, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => putPauseRow(this.db, pause))
  }

  async removePause(target: PauseTarget, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => deletePauseRow(this.db, target))
  }

  async blocks(): Promise<BlocksRecord> {
    return blockRows(this.db)
  }

  async addBlock(block: BlockRecord, audit: AuditEntry): Promise<void> {
    this.recorded('durably', audit, () => insertBlockRow(this.db, block))
  }

  async removeBlock(id: string, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => removeBlockRow(this.db, id))
  }

  async nodeMarks(): Promise<NodeMarksRecord[]> {
    return nodeMarkRows(this.db)
  }

  async putLabels(node: MarkedNode, labels: Record<string, string>, audit: AuditEntry): Promise<void> {
    this.recorded('durably', audit, () => putLabelsRow(this.db, node, labels))
  }

  async putDrained(node: MarkedNode, isDrained: boolean, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => putDrainedRow(this.db, node, isDrained))
  }

  async swarmLines(filter: SwarmFilter): Promise<SwarmLine[]> {
    return swarmLineRows(this.db, filter)
  }

  async pullLines(filter: PullFilter): Promise<PullLine[]> {
    return pullLineRows(this.db, filter)
  }

  async imageLines(filter: ImageFilter): Promise<ImageLine[]> {
    return imageLineRows(this.db, filter)
  }

  async imageBlobs(asked: ImageBlobsAsked): Promise<SwarmLine[]> {
    return imageBlobRows(this.db, asked)
  }

  async memory(nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord> {
    return memoryRows(this.db, nowMs, bounds)
  }

  async saveMemory(change: MemoryChange): Promise<void> {
    this.db.atomically(() => putMemoryRows(this.db, change))
  }

  async addAudit(entry: AuditEntry): Promise<void> {
    insertAuditRow(this.db, entry)
  }

  async audit(filter: AuditFilter) {
    return auditRows(this.db, filter)
  }

  async prune(before: PruneBounds): Promise<{ nodes: number }> {
    return this.db.atomically(() => pruneRows(this.db, before))
  }

  async close(): Promise<void> {
    this.db.close()
  }
}
