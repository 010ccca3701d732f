import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import { StoreConflictError } from '../errors.ts'
import type { MemoryBounds, MemoryChange, MemoryRecord } from './memory.ts'
import { auditRows, insertAuditRow } from './sqlite-audit.ts'
import { bytes, SqliteDatabase } from './sqlite-database.ts'
import { deleteEndedMemoryRows, memoryRows, putMemoryRows } from './sqlite-memory.ts'
import { nodeRows, putNodeRow, renewNodeRow } from './sqlite-nodes.ts'
import {
  completePullBlobRows,
  deletePullRows,
  hasPullRowSince,
  insertPullRows,
  loadPullRows,
  newestPullRow,
} from './sqlite-pulls.ts'
import { clearRevocationRow, insertRevocationRow, revocationRows } from './sqlite-revocations.ts'
import {
  ADMIN_CLUSTER,
  authorityRows,
  clusterRows,
  insertAuthorityRow,
  insertBatchKeyRow,
  insertClusterRows,
  resealRows,
} from './sqlite-secrets.ts'
import { changeSwarmRows, deleteUnpublishedSwarmRows, loadSwarmRows } from './sqlite-swarms.ts'
import { putTokenKeyRow, tokenKeyRows } from './sqlite-token-keys.ts'
import {
  type AuditEntry,
  type AuthorityRecord,
  type BatchKeyRecord,
  type ClusterRecord,
  EPOCH_CHANGES_MAX,
  type EpochChange,
  type JoinTokenRecord,
  type NewRevocation,
  type NodeRecord,
  type NodeSwarm,
  type PruneBounds,
  type PullExtension,
  type PullRecord,
  type Reseal,
  type RevocationsRecord,
  type Store,
  type SwarmChange,
  type SwarmIdentity,
  type SwarmRecord,
  type TokenKeyRecord,
} from './store.ts'

/** The embedded store: one SQLite file, one process. */
export class SqliteStore implements Store {
  readonly #db: SqliteDatabase

  /**
   * @param path file, made if absent; `:memory:` for a store that ends with the process
   * @throws StoreUnusableError
   */
  constructor(path: string) {
    this.#db = new SqliteDatabase(path)
  }

  async sealedDataKey(): Promise<Buffer | undefined> {
    const row = this.#db.get("SELECT value FROM meta WHERE name = 'sealed-data-key'")
    return row === undefined ? undefined : bytes(row.value)
  }

  async replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void> {
    this.#db.erasing(() => {
      resealRows(this.#db, reseal)
      this.#db.run("UPDATE meta SET value = ? WHERE name = 'sealed-data-key'", sealedDataKey)
      this.#insertAudit(audit)
    })
  }

  async putSealedDataKey(sealed: Buffer): Promise<void> {
    this.#db.durably(() => {
      const insert = "INSERT INTO meta (name, value) VALUES ('sealed-data-key', ?) ON CONFLICT DO NOTHING"
      if (this.#db.run(insert, sealed).changes === 0) throw new StoreConflictError('the store has a data key')
    })
  }

  async adminAuthorities(): Promise<AuthorityRecord[]> {
    return authorityRows(this.#db, ADMIN_CLUSTER)
  }

  async addAdminAuthority(
    authority: AuthorityRecord,
    { replaces }: { replaces: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    this.#db.erasing(() => {
      if (replaces) this.#db.run('DELETE FROM authorities WHERE cluster = ?', ADMIN_CLUSTER)
      insertAuthorityRow(this.#db, ADMIN_CLUSTER, authority)
      this.#insertAudit(audit)
    })
  }

  async removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void> {
    this.#removeAuthority(ADMIN_CLUSTER, certificatePem, audit)
  }

  async clusters(): Promise<ClusterRecord[]> {
    return clusterRows(this.#db)
  }

  async createCluster(cluster: ClusterRecord, audit: AuditEntry): Promise<void> {
    this.#db.durably(() => {
      insertClusterRows(this.#db, cluster)
      this.#insertAudit(audit)
    })
  }

  async putJoinToken(cluster: ClusterId, token: JoinTokenRecord, audit: AuditEntry): Promise<void> {
    this.#db.durably(() => {
      const update = 'UPDATE clusters SET sealed_join_token = ?, join_token_valid_until_ms = ? WHERE id = ?'
      this.#db.run(update, token.sealedHash, token.validUntilMs, cluster)
      this.#insertAudit(audit)
    })
  }

  async addAuthority(
    cluster: ClusterId,
    authority: AuthorityRecord,
    { forgetsNodes }: { forgetsNodes: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    this.#db.durably(() => {
      insertAuthorityRow(this.#db, cluster, authority)
      if (forgetsNodes) this.#db.run('DELETE FROM nodes WHERE cluster = ?', cluster)
      this.#insertAudit(audit)
    })
  }

  async removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void> {
    this.#removeAuthority(cluster, certificatePem, audit)
  }

  async addBatchKey(
    cluster: ClusterId,
    key: BatchKeyRecord,
    { previousEndsAtMs }: { previousEndsAtMs: number },
    audit: AuditEntry,
  ): Promise<void> {
    this.#db.durably(() => {
      const end = 'UPDATE batch_keys SET ends_at_ms = ? WHERE cluster = ? AND ends_at_ms IS NULL'
      this.#db.run(end, previousEndsAtMs, cluster)
      insertBatchKeyRow(this.#db, cluster, key)
      this.#insertAudit(audit)
    })
  }

  async removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void> {
    this.#db.erasing(() => {
      this.#db.run('DELETE FROM batch_keys WHERE cluster = ? AND public_key = ?', cluster, publicKey)
      this.#insertAudit(audit)
    })
  }

  async putNode(node: NodeRecord, audit: AuditEntry): Promise<void> {
    this.#db.atomically(() => {
      putNodeRow(this.#db, node)
      this.#insertAudit(audit)
    })
  }

  async renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean> {
    return this.#db.atomically(() => {
      if (!renewNodeRow(this.#db, node)) return false
      this.#insertAudit(audit)
      return true
    })
  }

  async hasNode(cluster: ClusterId, node: NodeId): Promise<boolean> {
    return this.#db.get('SELECT 1 FROM nodes WHERE cluster = ? AND node = ?', cluster, node) !== undefined
  }

  async nodes(cluster?: ClusterId): Promise<NodeRecord[]> {
    return nodeRows(this.#db, cluster)
  }

  putPull(pull: PullRecord, audit: AuditEntry): Promise<void> {
    return this.#db.together(() => {
      insertPullRows(this.#db, pull)
      this.#insertAudit(audit)
    })
  }

  async pull(id: string): Promise<PullRecord | undefined> {
    return loadPullRows(this.#db, id)
  }

  async extendPull(id: string, { expiresAtMs, tokenHash }: PullExtension, audit: AuditEntry): Promise<void> {
    this.#db.atomically(() => {
      const update = 'UPDATE pulls SET expires_at_ms = ?, token_hash = ? WHERE id = ?'
      this.#db.run(update, expiresAtMs, tokenHash, id)
      this.#insertAudit(audit)
    })
  }

  async completePullBlobs(blob: NodeSwarm, atMs: number): Promise<void> {
    completePullBlobRows(this.#db, blob, atMs)
  }

  async hasPullSince(blob: NodeSwarm, sinceMs: number): Promise<boolean> {
    return hasPullRowSince(this.#db, blob, sinceMs)
  }

  async newestPull(blob: NodeSwarm): Promise<PullRecord | undefined> {
    return newestPullRow(this.#db, blob)
  }

  async swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined> {
    const row = this.#db.get('SELECT version FROM swarms WHERE id = ? AND cluster = ?', swarm, cluster)
    return row?.version as number | undefined
  }

  async loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined> {
    return loadSwarmRows(this.#db, cluster, swarm)
  }

  async ensureSwarm(identity: SwarmIdentity): Promise<void> {
    this.#db.run(
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
      changeSwarmRows(this.#db, swarm, expectedVersion, change)
      for (const entry of change.audit) this.#insertAudit(entry)
    }
    // A risen epoch must not fall back: nodes would refuse everything signed since.
    if (change.dropCompletions) this.#db.durably(write)
    else await this.#db.together(write)
  }

  async putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void> {
    this.#db.run('INSERT INTO pieces_sha1 VALUES (?, ?, ?) ON CONFLICT DO NOTHING', swarm, node, hashes)
  }

  async piecesSha1(swarm: SwarmId): Promise<Buffer | undefined> {
    const row = this.#db.get('SELECT hashes FROM pieces_sha1 WHERE swarm = ?', swarm)
    return row === undefined ? undefined : bytes(row.hashes)
  }

  async epochChanges(sequence: number): Promise<EpochChange[]> {
    const newest = 'SELECT * FROM epoch_changes WHERE sequence > ? ORDER BY sequence DESC LIMIT ?'
    return this.#db
      .all(newest, sequence, EPOCH_CHANGES_MAX)
      .reverse()
      .map((row) => ({ ...row }) as unknown as EpochChange)
  }

  async addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number> {
    return this.#db.durably(() => {
      this.#insertAudit(audit)
      return insertRevocationRow(this.#db, revocation)
    })
  }

  async clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean> {
    return this.#db.durably(() => {
      const isCleared = clearRevocationRow(this.#db, sequence, audit.atMs)
      if (isCleared) this.#insertAudit(audit)
      return isCleared
    })
  }

  async revocations(): Promise<RevocationsRecord> {
    return revocationRows(this.#db)
  }

  async tokenKeys(): Promise<TokenKeyRecord[]> {
    return tokenKeyRows(this.#db)
  }

  async putTokenKey(record: TokenKeyRecord, audit: AuditEntry): Promise<void> {
    this.#db.durably(() => {
      putTokenKeyRow(this.#db, record)
      this.#insertAudit(audit)
    })
  }

  async removeTokenKey(id: string, audit: AuditEntry): Promise<void> {
    this.#db.atomically(() => {
      this.#db.run('DELETE FROM token_keys WHERE id = ?', id)
      this.#insertAudit(audit)
    })
  }

  async memory(nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord> {
    return memoryRows(this.#db, nowMs, bounds)
  }

  async saveMemory(change: MemoryChange): Promise<void> {
    this.#db.atomically(() => putMemoryRows(this.#db, change))
  }

  async addAudit(entry: AuditEntry): Promise<void> {
    this.#insertAudit(entry)
  }

  async audit(options: { limit: number; beforeSequence?: number }) {
    return auditRows(this.#db, options)
  }

  async prune(before: PruneBounds): Promise<{ nodes: number }> {
    return this.#db.atomically(() => {
      const { changes } = this.#db.run('DELETE FROM nodes WHERE renewed_at_ms < ?1', before.nodes)
      deletePullRows(this.#db, before)
      this.#db.run('DELETE FROM leases WHERE expires_at_ms < ?1', before.pulls)
      this.#db.run('DELETE FROM audit WHERE at_ms < ?1', before.audit)
      deleteUnpublishedSwarmRows(this.#db)
      deleteEndedMemoryRows(this.#db, before.now)
      return { nodes: changes }
    })
  }

  async close(): Promise<void> {
    this.#db.close()
  }

  #removeAuthority(cluster: string, certificatePem: string, audit: AuditEntry): void {
    this.#db.erasing(() => {
      const remove = 'DELETE FROM authorities WHERE cluster = ? AND certificate_pem = ?'
      this.#db.run(remove, cluster, certificatePem)
      this.#insertAudit(audit)
    })
  }

  #insertAudit(entry: AuditEntry): void {
    insertAuditRow(this.#db, entry)
  }
}
