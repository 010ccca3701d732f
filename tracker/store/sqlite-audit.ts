import type { AuditEntry, AuditFilter } from './audit.ts'
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

export function auditRows(db: SqliteDatabase, filter: AuditFilter) {
  const { limit, beforeSequence = Number.MAX_SAFE_INTEGER, actor, action, cluster, target } = filter
  const newest = `SELECT * FROM audit WHERE sequence < ?1 AND (?2 IS NULL OR actor = ?2) AND (?3 IS NULL OR action = ?3)
    AND (?4 IS NULL OR cluster = ?4) AND (?5 IS NULL OR target = ?5) ORDER BY sequence DESC LIMIT ?6`
  const wanted = [actor ?? null, action ?? null, cluster ?? null, target ?? null]
  return db.all(newest, beforeSequence, ...wanted, limit).map(auditOf)
}
