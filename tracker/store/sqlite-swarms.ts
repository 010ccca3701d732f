import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import { StoreConflictError } from '../errors.ts'
import { DISPUTES_LOADED_MAX, epochChangeOf, swarmOf, termsText } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import {
  type DisputeRecord,
  EPOCH_CHANGES_MAX,
  type EpochChange,
  type SwarmChange,
  type SwarmRecord,
} from './store.ts'

/** Reads one swarm with everything that belongs to it. */
export function loadSwarmRows(
  db: SqliteDatabase,
  cluster: ClusterId,
  swarm: SwarmId,
): SwarmRecord | undefined {
  const row = db.get('SELECT * FROM swarms WHERE id = ? AND cluster = ?', swarm, cluster)
  if (row === undefined) return undefined
  const newest = 'SELECT * FROM disputes WHERE swarm = ? ORDER BY at_ms DESC, rowid DESC LIMIT ?'
  return swarmOf({
    swarm: row,
    pieces: db.all('SELECT * FROM pieces WHERE swarm = ? ORDER BY piece', swarm),
    leases: db.all('SELECT * FROM leases WHERE swarm = ?', swarm),
    completions: db.all('SELECT node FROM completions WHERE swarm = ?', swarm),
    disputes: db.all(newest, swarm, DISPUTES_LOADED_MAX).reverse(),
    hasPiecesSha1: db.get('SELECT 1 FROM pieces_sha1 WHERE swarm = ?', swarm) !== undefined,
  })
}

/**
 * Applies one step's change. Run it inside a transaction.
 * @throws StoreConflictError if the swarm is at another version
 */
export function changeSwarmRows(
  db: SqliteDatabase,
  swarm: SwarmId,
  expected: number,
  change: SwarmChange,
): void {
  const raise =
    'UPDATE swarms SET version = version + 1, epoch = ?, is_confirmed = ? WHERE id = ? AND version = ?'
  const { changes } = db.run(raise, change.epoch, change.isConfirmed ? 1 : 0, swarm, expected)
  if (changes === 0) throw new StoreConflictError(`swarm ${swarm} is not at version ${expected}`)
  changePieces(db, swarm, change)
  changeLeases(db, swarm, change)
  changeCompletions(db, swarm, change)
  for (const dispute of change.addDisputes) insertDispute(db, swarm, dispute)
}

function changePieces(db: SqliteDatabase, swarm: SwarmId, change: SwarmChange): void {
  for (const piece of change.dropPieces) {
    db.run('DELETE FROM pieces WHERE swarm = ? AND piece = ?', swarm, piece)
  }
  for (const { piece, hash, node, pull } of change.putPieces) {
    db.run('INSERT INTO pieces VALUES (?, ?, ?, ?, ?)', swarm, piece, hash, node, pull)
  }
}

function changeLeases(db: SqliteDatabase, swarm: SwarmId, change: SwarmChange): void {
  for (const lease of change.dropLeases) {
    db.run('DELETE FROM leases WHERE swarm = ? AND id = ?', swarm, lease)
  }
  const put = 'INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
  for (const it of change.putLeases) {
    db.run(put, swarm, it.lease, it.node, it.pull, it.firstPiece, it.pieces, it.expiresAtMs, termsText(it))
  }
}

/**
 * Deletes swarms that no pull names any more and of which nothing was ever signed (if the epoch rose, something was). Run
 * it inside a transaction.
 */
export function deleteUnpublishedSwarmRows(db: SqliteDatabase): void {
  const hasPieces = 'EXISTS (SELECT 1 FROM pieces WHERE swarm = swarms.id)'
  const unpublished = `SELECT id FROM swarms WHERE epoch = 0 AND NOT ${hasPieces}`
  const unnamed = db.all(`${unpublished} AND id NOT IN (SELECT swarm FROM pull_blobs)`)
  for (const { id } of unnamed) {
    db.run('DELETE FROM leases WHERE swarm = ?', id as string)
    db.run('DELETE FROM swarms WHERE id = ?', id as string)
  }
}

/** Completions and SHA-1 hashes end with their epoch. Notes the rise for the nodes that hold the swarm. */
function changeCompletions(db: SqliteDatabase, swarm: SwarmId, change: SwarmChange): void {
  if (change.dropCompletions) {
    db.run('DELETE FROM completions WHERE swarm = ?', swarm)
    db.run('DELETE FROM pieces_sha1 WHERE swarm = ?', swarm)
    const note =
      'INSERT INTO epoch_changes (cluster, swarm, epoch) SELECT cluster, id, epoch FROM swarms WHERE id = ?'
    db.run(note, swarm)
  }
  for (const node of change.addCompletions) {
    db.run('INSERT INTO completions VALUES (?, ?) ON CONFLICT DO NOTHING', swarm, node)
  }
}

function insertDispute(db: SqliteDatabase, swarm: SwarmId, dispute: DisputeRecord): void {
  db.run(
    'INSERT INTO disputes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    swarm,
    dispute.kind,
    dispute.epoch,
    dispute.piece,
    dispute.publisher,
    dispute.publisherPull,
    dispute.publishedHash,
    dispute.reporter,
    dispute.reportedHash,
    dispute.atMs,
  )
}

/** Epoch rises after `sequence`, oldest first. */
export function epochChangeRows(db: SqliteDatabase, sequence: number): EpochChange[] {
  const newest = 'SELECT * FROM epoch_changes WHERE sequence > ? ORDER BY sequence DESC LIMIT ?'
  return db.all(newest, sequence, EPOCH_CHANGES_MAX).reverse().map(epochChangeOf)
}
