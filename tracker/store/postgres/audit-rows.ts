import type { AuditEntry } from '../audit.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import type { Query } from './sql.ts'

export async function insertAuditRow(sql: Query, entry: AuditEntry): Promise<void> {
  const { atMs, actor, action, cluster, target } = entry
  await sql`INSERT INTO audit (at_ms, actor, action, cluster, target)
    VALUES (${atMs}, ${actor}, ${action}, ${cluster}, ${target})`
}

/** One step with its entry in the audit log; without one if `work` says that it changed nothing. */
export function recorded<T>(
  db: PostgresDatabase,
  audit: AuditEntry,
  work: (sql: Query) => Promise<T>,
): Promise<T> {
  return db.atomically(async (sql) => {
    const result = await work(sql)
    if (result !== false) await insertAuditRow(sql, audit)
    return result
  })
}

export async function exists(
  db: PostgresDatabase,
  find: (sql: Query) => Promise<readonly unknown[]>,
): Promise<boolean> {
  return (await db.run(find)).length > 0
}
