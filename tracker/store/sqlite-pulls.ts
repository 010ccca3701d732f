import { bytes, type SqliteDatabase } from './sqlite-database.ts'
import type { NodeSwarm, PullRecord } from './store.ts'

/** To be run inside a transaction. */
export function insertPullRows(db: SqliteDatabase, pull: PullRecord): void {
  db.run(
    'INSERT INTO pulls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
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
  return {
    pull: id,
    cluster: row.cluster,
    node: row.node,
    registry: row.registry,
    repository: row.repository,
    subject: row.subject,
    tokenHash: row.token_hash,
    spki: bytes(row.spki),
    grantedAtMs: row.granted_at_ms,
    expiresAtMs: row.expires_at_ms,
    blobs: blobs.map((blob) => ({
      swarm: blob.swarm,
      digest: blob.digest,
      isComplete: blob.completed_at_ms !== null,
    })),
  } as PullRecord
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

/** Pulls of grants before `beforeMs`, with their blobs; to be run inside a transaction. */
export function deletePullRows(db: SqliteDatabase, beforeMs: number): void {
  const ended = 'SELECT id FROM pulls WHERE granted_at_ms < ?1'
  db.run(`DELETE FROM pull_blobs WHERE pull IN (${ended})`, beforeMs)
  db.run('DELETE FROM pulls WHERE granted_at_ms < ?1', beforeMs)
}
