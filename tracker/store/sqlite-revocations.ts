import { revocationOf } from './records.ts'
import type { NewRevocation, RevocationsRecord } from './revocations.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

/** Run it inside a transaction. @returns the sequence number */
export function insertRevocationRow(db: SqliteDatabase, revocation: NewRevocation): number {
  return db.run(
    `INSERT INTO revocations (cluster, kind, target, registry, subject, token_hash, at_ms, ends_at_ms, is_left)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    revocation.cluster,
    revocation.kind,
    revocation.target,
    revocation.registry,
    revocation.subject,
    revocation.tokenHash,
    revocation.atMs,
    revocation.endsAtMs,
    revocation.isLeft ? 1 : 0,
  ).rowId
}

/** Run it inside a transaction. @returns false if no such revocation is in force */
export function clearRevocationRow(db: SqliteDatabase, sequence: number, atMs: number): boolean {
  const inForce = 'SELECT * FROM revocations WHERE sequence = ? AND is_clearing = 0 AND cleared_by IS NULL'
  const row = db.get(inForce, sequence)
  if (row === undefined) return false
  const { rowId } = db.run(
    'INSERT INTO revocations (cluster, kind, target, at_ms, is_clearing) VALUES (?, ?, ?, ?, 1)',
    row.cluster as string,
    row.kind as string,
    row.target as string,
    atMs,
  )
  db.run('UPDATE revocations SET cleared_by = ? WHERE sequence = ?', rowId, sequence)
  return true
}

/** All revocations in force, and the newest sequence numbers. */
export function revocationRows(db: SqliteDatabase): RevocationsRecord {
  const inForce = 'SELECT * FROM revocations WHERE is_clearing = 0 AND cleared_by IS NULL ORDER BY sequence'
  const newest = db.get(
    `SELECT coalesce(max(sequence), 0) AS newest,
            coalesce(max(CASE is_clearing WHEN 1 THEN sequence END), 0) AS clearing FROM revocations`,
  )
  return {
    inForce: db.all(inForce).map(revocationOf),
    newestSequence: newest?.newest as number,
    newestClearing: newest?.clearing as number,
  }
}
