import type { MemoryBounds, MemoryChange, MemoryRecord } from './memory.ts'
import { acceptanceOf, membershipOf, packHolds, presenceOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function memoryRows(db: SqliteDatabase, nowMs: number, bounds: MemoryBounds): MemoryRecord {
  // Of more than memory takes, those that last longest.
  const live = (table: 'acceptances' | 'memberships') =>
    db
      .all(
        `SELECT * FROM ${table} WHERE until_ms > ? ORDER BY until_ms DESC LIMIT ?`,
        nowMs,
        bounds[`${table}Max`],
      )
      .reverse()
  return {
    presences: db.all('SELECT * FROM presences LIMIT ?', bounds.presencesMax).map(presenceOf),
    acceptances: live('acceptances').map(acceptanceOf),
    memberships: live('memberships').map(membershipOf),
  }
}

/** Run it inside a transaction. */
export function putMemoryRows(db: SqliteDatabase, change: MemoryChange): void {
  for (const { cluster, node } of change.gone) {
    db.run('DELETE FROM presences WHERE cluster = ? AND node = ?', cluster, node)
  }
  for (const { cluster, node, address, port, wire, zone, rack, holds } of change.presences) {
    const put = 'INSERT OR REPLACE INTO presences VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
    db.run(put, cluster, node, address, port, packHolds(holds), wire, zone, rack)
  }
  for (const { id, digest, untilMs, mark } of change.acceptances) {
    db.run('INSERT OR REPLACE INTO acceptances VALUES (?, ?, ?, ?)', id, digest, untilMs, mark)
  }
  for (const { id, bytes, untilMs, mark } of change.memberships) {
    db.run('INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?)', id, bytes, untilMs, mark)
  }
}

/** Run it inside a transaction. */
export function deleteEndedMemoryRows(db: SqliteDatabase, nowMs: number): void {
  for (const table of ['acceptances', 'memberships']) {
    db.run(`DELETE FROM ${table} WHERE until_ms <= ?`, nowMs)
  }
}
