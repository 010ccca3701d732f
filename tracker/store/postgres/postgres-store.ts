import type { ClusterId, NodeId, SwarmId } from '../../../core/metainfo.ts'
import { StoreConflictError } from '../../errors.ts'
import type { AuditEntry } from '../audit.ts'
import type { JoinTokenRecord } from '../join-tokens.ts'
import type { MemoryBounds, MemoryChange, MemoryRecord } from '../memory.ts'
import type { PauseRecord, PauseTarget } from '../pauses.ts'
import {
  ADMIN_CLUSTER,
  auditOf,
  bytes,
  epochChangeOf,
  joinTokenOf,
  nodeOf,
  pauseOf,
  revocationOf,
  tokenKeyOf,
} from '../records.ts'
import {
  type AuthorityRecord,
  type BatchKeyRecord,
  type ClusterRecord,
  EPOCH_CHANGES_MAX,
  type EpochChange,
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
} from '../store.ts'
import {
  addJoinTokenRow,
  clearRevocationRow,
  deletePauseRow,
  insertJoinTokenRow,
  insertRevocationRow,
  putNodeRow,
  putPauseRow,
  removeNodeRow,
  renewNodeRow,
  useJoinTokenRow,
  withdrawJoinTokenRow,
} from './member-rows.ts'
import { memoryRows, putMemoryRows } from './memory-rows.ts'
import type { PostgresDatabase, Query } from './postgres-database.ts'
import { pruneRows } from './prune-rows.ts'
import { insertPullRows, loadPullRows, newestPullRow } from './pull-rows.ts'
import {
  authorityRows,
  clusterRows,
  insertAuthorityRow,
  insertBatchKeyRow,
  insertClusterRows,
  lockCluster,
  resealRows,
} from './secret-rows.ts'
import { changeSwarmRows, loadSwarmRows } from './swarm-rows.ts'

/** The store of several trackers: one PostgreSQL database. */
export class PostgresStore implements Store {
  readonly #db: PostgresDatabase

  constructor(database: PostgresDatabase) {
    this.#db = database
  }

  async sealedDataKey(): Promise<Buffer | undefined> {
    const [row] = await this.#db.run((sql) => sql`SELECT value FROM meta WHERE name = 'sealed-data-key'`)
    return row === undefined ? undefined : bytes(row.value)
  }

  async replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await resealRows(sql, reseal)
      await sql`UPDATE meta SET value = ${sealedDataKey} WHERE name = 'sealed-data-key'`
    })
  }

  async putSealedDataKey(sealed: Buffer): Promise<void> {
    const { count } = await this.#db.run(
      (sql) => sql`INSERT INTO meta VALUES ('sealed-data-key', ${sealed}) ON CONFLICT DO NOTHING`,
    )
    if (count === 0) throw new StoreConflictError('the store has a data key')
  }

  adminAuthorities(): Promise<AuthorityRecord[]> {
    return this.#db.run((sql) => authorityRows(sql, ADMIN_CLUSTER))
  }

  async addAdminAuthority(
    authority: AuthorityRecord,
    { replaces }: { replaces: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      if (replaces) await sql`DELETE FROM authorities WHERE cluster = ${ADMIN_CLUSTER}`
      await insertAuthorityRow(sql, ADMIN_CLUSTER, authority)
    })
  }

  removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void> {
    return this.#removeAuthority(ADMIN_CLUSTER, certificatePem, audit)
  }

  clusters(): Promise<ClusterRecord[]> {
    return this.#db.reading(clusterRows)
  }

  async createCluster(cluster: ClusterRecord, joinToken: JoinTokenRecord, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await insertClusterRows(sql, cluster)
      await insertJoinTokenRow(sql, joinToken)
    })
  }

  async joinTokens(cluster: ClusterId): Promise<JoinTokenRecord[]> {
    const rows = await this.#db.run(
      (sql) => sql`SELECT * FROM join_tokens WHERE cluster = ${cluster} ORDER BY created_at_ms DESC, id`,
    )
    return rows.map(joinTokenOf)
  }

  async addJoinToken(
    token: JoinTokenRecord,
    { replaces }: { replaces: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await lockCluster(sql, token.cluster)
      await addJoinTokenRow(sql, token, { replaces, nowMs: audit.atMs })
    })
  }

  withdrawJoinToken(cluster: ClusterId, id: string, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => withdrawJoinTokenRow(sql, cluster, id, audit.atMs))
  }

  async addAuthority(
    cluster: ClusterId,
    authority: AuthorityRecord,
    { forgetsNodes }: { forgetsNodes: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await lockCluster(sql, cluster)
      await insertAuthorityRow(sql, cluster, authority)
      if (forgetsNodes) await sql`DELETE FROM nodes WHERE cluster = ${cluster}`
    })
  }

  removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void> {
    return this.#removeAuthority(cluster, certificatePem, audit)
  }

  async addBatchKey(
    cluster: ClusterId,
    key: BatchKeyRecord,
    { previousEndsAtMs }: { previousEndsAtMs: number },
    audit: AuditEntry,
  ): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await lockCluster(sql, cluster)
      await sql`UPDATE batch_keys SET ends_at_ms = ${previousEndsAtMs}
        WHERE cluster = ${cluster} AND ends_at_ms IS NULL`
      await insertBatchKeyRow(sql, cluster, key)
    })
  }

  async removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await sql`DELETE FROM batch_keys WHERE cluster = ${cluster} AND public_key = ${publicKey}`
    })
  }

  async putNode(node: NodeRecord, audit: AuditEntry, joinToken?: string): Promise<boolean> {
    try {
      return await this.#recorded(audit, async (sql) => {
        const isNew = await putNodeRow(sql, node)
        if (isNew && joinToken !== undefined && !(await useJoinTokenRow(sql, joinToken))) throw new UsedUp()
        return true
      })
    } catch (error) {
      if (error instanceof UsedUp) return false
      throw error
    }
  }

  renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => renewNodeRow(sql, node))
  }

  removeNode(cluster: ClusterId, node: NodeId, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => removeNodeRow(sql, cluster, node))
  }

  hasNode(cluster: ClusterId, node: NodeId): Promise<boolean> {
    return this.#exists((sql) => sql`SELECT 1 FROM nodes WHERE cluster = ${cluster} AND node = ${node}`)
  }

  async nodes(cluster?: ClusterId): Promise<NodeRecord[]> {
    const rows = await this.#db.run((sql) =>
      cluster === undefined
        ? sql`SELECT * FROM nodes ORDER BY cluster COLLATE "C", node COLLATE "C"`
        : sql`SELECT * FROM nodes WHERE cluster = ${cluster} ORDER BY node COLLATE "C"`,
    )
    return rows.map(nodeOf)
  }

  async putPull(pull: PullRecord, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, (sql) => insertPullRows(sql, pull))
  }

  pull(id: string): Promise<PullRecord | undefined> {
    return this.#db.run((sql) => loadPullRows(sql, id))
  }

  async extendPull(id: string, { expiresAtMs, tokenHash }: PullExtension, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await sql`UPDATE pulls SET expires_at_ms = ${expiresAtMs}, token_hash = ${tokenHash} WHERE id = ${id}`
    })
  }

  async completePullBlobs({ node, swarm, cluster }: NodeSwarm, atMs: number): Promise<void> {
    await this.#db.run(
      (sql) => sql`UPDATE pull_blobs SET completed_at_ms = ${atMs}
        WHERE node = ${node} AND swarm = ${swarm} AND cluster = ${cluster} AND completed_at_ms IS NULL`,
    )
  }

  hasPullSince({ node, swarm, cluster }: NodeSwarm, sinceMs: number): Promise<boolean> {
    return this.#exists(
      (sql) => sql`SELECT 1 FROM pull_blobs
        WHERE node = ${node} AND swarm = ${swarm} AND granted_at_ms >= ${sinceMs} AND cluster = ${cluster} LIMIT 1`,
    )
  }

  newestPull(blob: NodeSwarm): Promise<PullRecord | undefined> {
    return this.#db.run((sql) => newestPullRow(sql, blob))
  }

  async swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined> {
    const [row] = await this.#db.run(
      (sql) => sql`SELECT version FROM swarms WHERE id = ${swarm} AND cluster = ${cluster}`,
    )
    return row?.version
  }

  loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined> {
    return this.#db.reading((sql) => loadSwarmRows(sql, cluster, swarm))
  }

  async ensureSwarm({ swarm, cluster, registry, digest, bytes }: SwarmIdentity): Promise<void> {
    await this.#db.run(
      (sql) => sql`INSERT INTO swarms (id, cluster, registry, digest, bytes)
        VALUES (${swarm}, ${cluster}, ${registry}, ${digest}, ${bytes}) ON CONFLICT DO NOTHING`,
    )
  }

  async saveSwarm(swarm: SwarmId, expectedVersion: number, change: SwarmChange): Promise<void> {
    await this.#db.atomically(async (sql) => {
      await changeSwarmRows(sql, swarm, expectedVersion, change)
      await Promise.all(change.audit.map((entry) => insertAuditRow(sql, entry)))
    })
  }

  async putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void> {
    await this.#db.run(
      (sql) => sql`INSERT INTO pieces_sha1 VALUES (${swarm}, ${node}, ${hashes}) ON CONFLICT DO NOTHING`,
    )
  }

  async piecesSha1(swarm: SwarmId): Promise<Buffer | undefined> {
    const [row] = await this.#db.run((sql) => sql`SELECT hashes FROM pieces_sha1 WHERE swarm = ${swarm}`)
    return row === undefined ? undefined : bytes(row.hashes)
  }

  async epochChanges(sequence: number): Promise<EpochChange[]> {
    const newest = await this.#db.run(
      (sql) => sql`SELECT * FROM epoch_changes WHERE sequence > ${sequence}
        ORDER BY sequence DESC LIMIT ${EPOCH_CHANGES_MAX}`,
    )
    return newest.map(epochChangeOf).reverse()
  }

  addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number> {
    return this.#recorded(audit, (sql) => insertRevocationRow(sql, revocation))
  }

  clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => clearRevocationRow(sql, sequence, audit.atMs))
  }

  revocations(): Promise<RevocationsRecord> {
    return this.#db.reading(async (sql) => {
      const [inForce, [newest]] = await Promise.all([
        sql`SELECT * FROM revocations WHERE is_clearing = 0 AND cleared_by IS NULL ORDER BY sequence`,
        sql`SELECT coalesce(max(sequence), 0) AS newest,
          coalesce(max(sequence) FILTER (WHERE is_clearing = 1), 0) AS clearing FROM revocations`,
      ])
      return {
        inForce: inForce.map(revocationOf),
        newestSequence: newest?.newest,
        newestClearing: newest?.clearing,
      }
    })
  }

  async pauses(): Promise<PauseRecord[]> {
    const rows = await this.#db.run(
      (sql) => sql`SELECT * FROM pauses ORDER BY cluster COLLATE "C", node COLLATE "C"`,
    )
    return rows.map(pauseOf)
  }

  putPause(pause: PauseRecord, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => putPauseRow(sql, pause))
  }

  removePause(target: PauseTarget, audit: AuditEntry): Promise<boolean> {
    return this.#recorded(audit, (sql) => deletePauseRow(sql, target))
  }

  async tokenKeys(): Promise<TokenKeyRecord[]> {
    return (await this.#db.run((sql) => sql`SELECT * FROM token_keys ORDER BY probed_at_ms`)).map(tokenKeyOf)
  }

  async putTokenKey(record: TokenKeyRecord, audit: AuditEntry): Promise<void> {
    const { id, probedAtMs, trustedUntilMs, withdrawnAtMs } = record
    const key = JSON.stringify(record.key)
    await this.#recorded(audit, async (sql) => {
      await sql`INSERT INTO token_keys VALUES (${id}, ${key}, ${probedAtMs}, ${trustedUntilMs}, ${withdrawnAtMs})
        ON CONFLICT (id) DO UPDATE SET key = excluded.key, probed_at_ms = excluded.probed_at_ms,
          trusted_until_ms = excluded.trusted_until_ms, withdrawn_at_ms = excluded.withdrawn_at_ms`
    })
  }

  async removeTokenKey(id: string, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await sql`DELETE FROM token_keys WHERE id = ${id}`
    })
  }

  memory(nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord> {
    return this.#db.run((sql) => memoryRows(sql, nowMs, bounds))
  }

  async saveMemory(change: MemoryChange): Promise<void> {
    await this.#db.atomically((sql) => putMemoryRows(sql, change))
  }

  async addAudit(entry: AuditEntry): Promise<void> {
    await this.#db.run((sql) => insertAuditRow(sql, entry))
  }

  async audit({ limit, beforeSequence }: { limit: number; beforeSequence?: number }) {
    const before = beforeSequence ?? Number.MAX_SAFE_INTEGER
    const rows = await this.#db.run(
      (sql) => sql`SELECT * FROM audit WHERE sequence < ${before} ORDER BY sequence DESC LIMIT ${limit}`,
    )
    return rows.map(auditOf)
  }

  prune(before: PruneBounds): Promise<{ nodes: number }> {
    return this.#db.atomically((sql) => pruneRows(sql, before))
  }

  close(): Promise<void> {
    return this.#db.close()
  }

  async #removeAuthority(cluster: string, certificatePem: string, audit: AuditEntry): Promise<void> {
    await this.#recorded(audit, async (sql) => {
      await sql`DELETE FROM authorities WHERE cluster = ${cluster} AND certificate_pem = ${certificatePem}`
    })
  }

  async #exists(find: (sql: Query) => Promise<readonly unknown[]>): Promise<boolean> {
    return (await this.#db.run(find)).length > 0
  }

  /** One step with its entry in the audit log; without one if `work` says that it changed nothing. */
  #recorded<T>(audit: AuditEntry, work: (sql: Query) => Promise<T>): Promise<T> {
    return this.#db.atomically(async (sql) => {
      const result = await work(sql)
      if (result !== false) await insertAuditRow(sql, audit)
      return result
    })
  }
}

/** Rolls a join back. */
class UsedUp extends Error {}

async function insertAuditRow(
  sql: Query,
  { atMs, actor, action, cluster, target }: AuditEntry,
): Promise<void> {
  await sql`INSERT INTO audit (at_ms, actor, action, cluster, target)
    VALUES (${atMs}, ${actor}, ${action}, ${cluster}, ${target})`
}
