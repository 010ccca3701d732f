import { pullOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import type { NodeSwarm, PullRecord } from './store.ts'

/** Run it inside a transaction. */
export function insertPullRows(db: SqliteDatabase, pull: PullRecord): void {
  db.run(
    'INSERT INTO pulls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    pull.pull,
    pull.cluster,
    pull.node,
    pull.registry,
    pull.repository,
    pull.subject,
    pull.tokenHash,
    pull.spki,
    pull.grantedAtMs,
    pull.expiresAtMs,
    pull.tokenKey,
  )
  const insert = 'INSERT INTO pull_blobs VALUES (?, ?, ?, ?, ?, ?, NULL)'
  for (const blob of pull.blobs) {
    db.run(insert, pull.pull, blob.swarm, blob.digest, pull.cluster, pull.node, pull.grantedAtMs)
  }
}

export function loadPullRows(db: SqliteDatabase, id: string): PullRecord | undefined {
  const row = db.get('SELECT * FROM pulls WHERE id = ?', id)
  if (row === undefined) return undefined
  const blobs = db.all('SELECT * FROM pull_blobs WHERE pull = ?', id)
  return pullOf(row, blobs)
}

export function completePullBlobRows(
  db: SqliteDatabase,
  { node, swarm, cluster }: NodeSwarm,
  atMs: number,
): void {
  const update = `UPDATE pull_blobs SET completed_at_ms = ?
    WHERE node = ? AND swarm = ? AND cluster = ? AND completed_at_ms IS NULL`
  db.run(update, atMs, node, swarm, cluster)
}

export function hasPullRowSince(
  db: SqliteDatabase,
  { node, swarm, cluster }: NodeSwarm,
  sinceMs: number,
): boolean {
  const find =
    'SELECT 1 FROM pull_blobs WHERE node = ? AND swarm = ? AND granted_at_ms >= ? AND cluster = ? LIMIT 1'
  return db.get(find, node, swarm, sinceMs, cluster) !== undefined
}

export function newestPullRow(
  db: SqliteDatabase,
  { node, swarm, cluster }: NodeSwarm,
): PullRecord | undefined {
  const find = `SELECT pull FROM pull_blobs WHERE node = ? AND swarm = ? AND cluster = ?
    ORDER BY granted_at_ms DESC LIMIT 1`
  const row = db.get(find, node, swarm, cluster)
  return row === undefined ? undefined : loadPullRows(db, row.pull as string)
}

/**
 * Deletes pulls granted before `pulls`, and ended pulls of each node beyond its newest `pullsPerNodeMax`, with their blobs.
 * Run it inside a transaction.
 */
export function deletePullRows(
  db: SqliteDatabase,
  { pulls, now, pullsPerNodeMax }: { pulls: number; now: number; pullsPerNodeMax: number },
): void {
  const placed = `SELECT id, granted_at_ms, expires_at_ms,
    row_number() OVER (PARTITION BY cluster, node ORDER BY granted_at_ms DESC) AS place FROM pulls`
  const old = `SELECT id FROM (${placed}) WHERE granted_at_ms < ? OR (place > ? AND expires_at_ms < ?)`
  for (const { id } of db.all(old, pulls, pullsPerNodeMax, now)) {
    db.run('DELETE FROM pull_blobs WHERE pull = ?', id as string)
    db.run('DELETE FROM pulls WHERE id = ?', id as string)
  }
}
