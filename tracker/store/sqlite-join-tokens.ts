import type { ClusterId } from '../../core/metainfo.ts'
import { ENDED_JOIN_TOKENS_MAX, type JoinTokenRecord } from './join-tokens.ts'
import { joinTokenOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

const IS_ENDED =
  '(withdrawn_at_ms IS NOT NULL OR valid_until_ms <= ?2 OR (uses_max IS NOT NULL AND uses >= uses_max))'

export function joinTokenRows(db: SqliteDatabase, cluster: ClusterId): JoinTokenRecord[] {
  const newestFirst = 'SELECT * FROM join_tokens WHERE cluster = ? ORDER BY created_at_ms DESC, id'
  return db.all(newestFirst, cluster).map(joinTokenOf)
}

export function insertJoinTokenRow(db: SqliteDatabase, token: JoinTokenRecord): void {
  db.run(
    'INSERT INTO join_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    token.id,
    token.cluster,
    token.sealedHash,
    token.createdAtMs,
    token.validUntilMs,
    token.usesMax,
    token.uses,
    token.withdrawnAtMs,
  )
}

export function withdrawJoinTokenRow(
  db: SqliteDatabase,
  cluster: ClusterId,
  id: string,
  atMs: number,
): boolean {
  const one =
    'UPDATE join_tokens SET withdrawn_at_ms = ? WHERE cluster = ? AND id = ? AND withdrawn_at_ms IS NULL'
  return db.run(one, atMs, cluster, id).changes > 0
}

/** Run it inside a transaction. Deletes the oldest ended tokens above the bound. */
export function addJoinTokenRow(
  db: SqliteDatabase,
  token: JoinTokenRecord,
  { replaces, nowMs }: { replaces: boolean; nowMs: number },
): void {
  const all = 'UPDATE join_tokens SET withdrawn_at_ms = ? WHERE cluster = ? AND withdrawn_at_ms IS NULL'
  if (replaces) db.run(all, nowMs, token.cluster)
  insertJoinTokenRow(db, token)
  const surplus = `SELECT id FROM join_tokens WHERE cluster = ?1 AND ${IS_ENDED}
    ORDER BY created_at_ms DESC, id LIMIT -1 OFFSET ?3`
  db.run(`DELETE FROM join_tokens WHERE id IN (${surplus})`, token.cluster, nowMs, ENDED_JOIN_TOKENS_MAX)
}

export function deleteEndedTokenRows(db: SqliteDatabase, beforeMs: number): void {
  db.run('DELETE FROM join_tokens WHERE withdrawn_at_ms < ?1 OR valid_until_ms < ?1', beforeMs)
}

/** Counts one node. @returns false if the token was used up or withdrawn meanwhile */
export function useJoinTokenRow(db: SqliteDatabase, id: string): boolean {
  const use = `UPDATE join_tokens SET uses = uses + 1
    WHERE id = ? AND withdrawn_at_ms IS NULL AND (uses_max IS NULL OR uses < uses_max)`
  return db.run(use, id).changes > 0
}
