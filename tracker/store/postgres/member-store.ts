import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import type { SealedAdminToken } from '../admin-tokens.ts'
import type { AuditEntry } from '../audit.ts'
import type { JoinTokenRecord } from '../join-tokens.ts'
import type { MarkedNode, NodeMarksRecord } from '../node-marks.ts'
import type { PauseRecord, PauseTarget } from '../pauses.ts'
import { adminTokenOf, joinTokenOf, nodeMarksOf, nodeOf, pauseOf, revocationOf } from '../records.ts'
import type { NewRevocation, RevocationsRecord } from '../revocations.ts'
import type { NodeRecord, Store } from '../store.ts'
import { recorded } from './audit-rows.ts'
import type { DataKeyGuard } from './data-key.ts'
import { Gathered } from './gathered.ts'
import {
  addJoinTokenRow,
  areNodeRows,
  clearRevocationRow,
  deleteAdminTokenRow,
  deletePauseRow,
  insertRevocationRow,
  type NodeKey,
  putAdminTokenRow,
  putDrainedRow,
  putLabelsRow,
  putNodeRow,
  putPauseRow,
  removeNodeRow,
  renewNodeRow,
  useJoinTokenRow,
  withdrawJoinTokenRow,
} from './member-rows.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { lockCluster } from './secret-rows.ts'

/** The part of the store for who is in a cluster, and who administers. */
export function memberStore(db: PostgresDatabase, dataKey: DataKeyGuard) {
  /** Every request of a node asks it. */
  const members = new Gathered((keys: NodeKey[]) => db.run((sql) => areNodeRows(sql, keys)))
  return {
    async joinTokens(cluster: ClusterId): Promise<JoinTokenRecord[]> {
      const rows = await db.run(
        (sql) => sql`SELECT * FROM join_tokens WHERE cluster = ${cluster} ORDER BY created_at_ms DESC, id`,
      )
      return rows.map(joinTokenOf)
    },

    async addJoinToken(
      token: JoinTokenRecord,
      { replaces }: { replaces: boolean },
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await lockCluster(sql, token.cluster)
        await addJoinTokenRow(sql, token, { replaces, nowMs: audit.atMs })
      })
    },

    withdrawJoinToken(cluster: ClusterId, id: string, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => withdrawJoinTokenRow(sql, cluster, id, audit.atMs))
    },

    async adminTokens(): Promise<SealedAdminToken[]> {
      const rows = await db.run((sql) => sql`SELECT * FROM admin_tokens ORDER BY name COLLATE "C"`)
      return rows.map(adminTokenOf)
    },

    putAdminToken(token: SealedAdminToken, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        return putAdminTokenRow(sql, token)
      })
    },

    removeAdminToken(name: string, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => deleteAdminTokenRow(sql, name))
    },

    async putNode(node: NodeRecord, audit: AuditEntry, joinToken?: string): Promise<boolean> {
      try {
        return await recorded(db, audit, async (sql) => {
          const isNew = await putNodeRow(sql, node)
          if (isNew && joinToken !== undefined && !(await useJoinTokenRow(sql, joinToken))) throw new UsedUp()
          return true
        })
      } catch (error) {
        if (error instanceof UsedUp) return false
        throw error
      }
    },

    renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => renewNodeRow(sql, node))
    },

    removeNode(cluster: ClusterId, node: NodeId, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => removeNodeRow(sql, cluster, node))
    },

    hasNode(cluster: ClusterId, node: NodeId): Promise<boolean> {
      return members.ask({ cluster, node })
    },

    async nodes(cluster?: ClusterId): Promise<NodeRecord[]> {
      const rows = await db.run((sql) =>
        cluster === undefined
          ? sql`SELECT * FROM nodes ORDER BY cluster COLLATE "C", node COLLATE "C"`
          : sql`SELECT * FROM nodes WHERE cluster = ${cluster} ORDER BY node COLLATE "C"`,
      )
      return rows.map(nodeOf)
    },

    async nodeMarks(): Promise<NodeMarksRecord[]> {
      const rows = await db.run(
        (sql) => sql`SELECT * FROM node_marks ORDER BY cluster COLLATE "C", node COLLATE "C"`,
      )
      return rows.map(nodeMarksOf)
    },

    async putLabels(node: MarkedNode, labels: Record<string, string>, audit: AuditEntry): Promise<void> {
      await recorded(db, audit, (sql) => putLabelsRow(sql, node, labels))
    },

    putDrained(node: MarkedNode, isDrained: boolean, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => putDrainedRow(sql, node, isDrained))
    },

    addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number> {
      return recorded(db, audit, (sql) => insertRevocationRow(sql, revocation))
    },

    clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => clearRevocationRow(sql, sequence, audit.atMs))
    },

    revocations(): Promise<RevocationsRecord> {
      return db.reading(async (sql) => {
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
    },

    async pauses(): Promise<PauseRecord[]> {
      const rows = await db.run(
        (sql) => sql`SELECT * FROM pauses ORDER BY cluster COLLATE "C", node COLLATE "C"`,
      )
      return rows.map(pauseOf)
    },

    putPause(pause: PauseRecord, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => putPauseRow(sql, pause))
    },

    removePause(target: PauseTarget, audit: AuditEntry): Promise<boolean> {
      return recorded(db, audit, (sql) => deletePauseRow(sql, target))
    },
  } satisfies Partial<Store>
}

/** Rolls a join back. */
class UsedUp extends Error {}
