import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import type { AuditEntry } from '../audit.ts'
import { learnedOf, restoreOf } from '../records.ts'
import { learnedEntry, type RestoreStore } from '../restores.ts'
import type { NewRevocation } from '../revocations.ts'
import { insertAuditRow, recorded } from './audit-rows.ts'
import { insertRevocationRow } from './member-rows.ts'
import type { PostgresDatabase } from './postgres-database.ts'

/** The part of the store for what follows a restored backup. */
export function restoreStore(db: PostgresDatabase): RestoreStore {
  return {
    async lastRestore() {
      const [row] = await db.run((sql) => sql`SELECT * FROM restores ORDER BY restored_at_ms DESC LIMIT 1`)
      return row === undefined ? undefined : restoreOf(row)
    },

    async learned() {
      return (await db.run((sql) => sql`SELECT * FROM restore_learned ORDER BY cluster, id`)).map(learnedOf)
    },

    async heardNodes() {
      const rows = await db.run((sql) => sql`SELECT cluster, node FROM restore_heard`)
      return rows as unknown as { cluster: ClusterId; node: NodeId }[]
    },

    learn({ cluster, node, atMs }, copies) {
      return db.atomically(async (sql) => {
        const heard =
          await sql`INSERT INTO restore_heard VALUES (${cluster}, ${node}, ${atMs}) ON CONFLICT DO NOTHING`
        if (heard.count === 0) return []
        const fresh: string[] = []
        // In one order by everybody: no deadlock.
        for (const [id, copy] of [...copies].toSorted(([one], [other]) => (one < other ? -1 : 1))) {
          const [row] = await sql`INSERT INTO restore_learned VALUES (${cluster}, ${id}, ${copy}, 1)
            ON CONFLICT (cluster, id) DO UPDATE SET nodes = restore_learned.nodes + 1 RETURNING nodes`
          if (row?.nodes === 1) fresh.push(id)
        }
        return fresh
      })
    },

    confirmRestore(revocations: readonly NewRevocation[], audit: AuditEntry) {
      return recorded(db, audit, async (sql) => {
        const { count } =
          await sql`UPDATE restores SET confirmed_at_ms = ${audit.atMs} WHERE confirmed_at_ms IS NULL`
        if (count === 0) return false
        for (const revocation of revocations) {
          await insertRevocationRow(sql, revocation)
          await insertAuditRow(sql, learnedEntry(audit, revocation))
        }
        return true
      })
    },
  }
}
