import type { AuditEntry } from './audit.ts'
import { auditOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function insertAuditRow(db: SqliteDatabase, entry: AuditEntry): void {
  db.run(
    'INSERT INTO audit (at_ms, actor, action, cluster, target) VALUES (?, ?, ?, ?, ?)',
    entry.atMs,
    entry.actor,
    entry.action,
    entry.cluster,
    entry.target,
  )
}

export function auditRows(db: SqliteDatabase, options: { limit: number; beforeSequence?: number }) {
  const newest = 'SELECT * FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?'
  const before = options.beforeSequence ?? Number.MAX_SAFE_INTEGER
  return db.all(newest, before, options.limit).map(auditOf)
}
