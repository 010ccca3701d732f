import type { ClusterId, SwarmId } from '../../../core/metainfo.ts'
import { StoreConflictError } from '../../errors.ts'
import { DISPUTES_LOADED_MAX, swarmOf, termsText } from '../records.ts'
import type { SwarmChange, SwarmRecord } from '../store.ts'
import { inCommitOrder } from './member-rows.ts'
import type { Query } from './sql.ts'

/** Reads one swarm with everything that belongs to it. Run it where all reads are of one moment. */
export async function loadSwarmRows(
  sql: Query,
  cluster: ClusterId,
  swarm: SwarmId,
): Promise<SwarmRecord | undefined> {
  const [[row], pieces, leases, completions, disputes, sha1] = await Promise.all([
    sql`SELECT * FROM swarms WHERE id = ${swarm} AND cluster = ${cluster}`,
    sql`SELECT * FROM pieces WHERE swarm = ${swarm} ORDER BY piece`,
    sql`SELECT * FROM leases WHERE swarm = ${swarm}`,
    sql`SELECT node FROM completions WHERE swarm = ${swarm}`,
    sql`SELECT * FROM disputes WHERE swarm = ${swarm} ORDER BY at_ms DESC, sequence DESC LIMIT ${DISPUTES_LOADED_MAX}`,
    sql`SELECT 1 FROM pieces_sha1 WHERE swarm = ${swarm}`,
  ])
  if (row === undefined) return undefined
  const hasPiecesSha1 = sha1.length > 0
  return swarmOf({
    swarm: row,
    pieces,
    leases,
    completions,
    disputes: [...disputes].reverse(),
    hasPiecesSha1,
  })
}

/**
 * Applies one step's change. Run it inside a transaction.
 * @throws StoreConflictError if the swarm is at another version
 */
export async function changeSwarmRows(
  sql: Query,
  swarm: SwarmId,
  expected: number,
  change: SwarmChange,
): Promise<void> {
  // The number is taken before the swarm's row is locked, as by everybody: no deadlock.
  if (change.dropCompletions) await inCommitOrder(sql, 'epoch_changes')
  const { count } = await sql`UPDATE swarms
    SET version = version + 1, epoch = ${change.epoch}, is_confirmed = ${change.isConfirmed ? 1 : 0}
    WHERE id = ${swarm} AND version = ${expected}`
  if (count === 0) throw new StoreConflictError(`swarm ${swarm} is not at version ${expected}`)
  // Sent one behind the other, without waiting for each answer.
  await Promise.all([
    ...changePieces(sql, swarm, change),
    ...changeLeases(sql, swarm, change),
    ...changeCompletions(sql, swarm, change),
    ...addDisputes(sql, swarm, change),
  ])
}

function changePieces(sql: Query, swarm: SwarmId, { dropPieces, putPieces }: SwarmChange) {
  const rows = putPieces.map(({ piece, hash, node, pull }) => ({ swarm, piece, hash, node, pull }))
  return [
    ...(dropPieces.length > 0
      ? [sql`DELETE FROM pieces WHERE swarm = ${swarm} AND piece IN ${sql.list(dropPieces)}`]
      : []),
    ...(rows.length > 0 ? [sql`INSERT INTO pieces ${sql.rows(rows)}`] : []),
  ]
}

function changeLeases(sql: Query, swarm: SwarmId, { dropLeases, putLeases }: SwarmChange) {
  const rows = putLeases.map((it) => ({
    ...{ swarm, id: it.lease, node: it.node, pull: it.pull, first_piece: it.firstPiece, pieces: it.pieces },
    ...{ expires_at_ms: it.expiresAtMs, terms: termsText(it) },
  }))
  return [
    ...(dropLeases.length > 0
      ? [sql`DELETE FROM leases WHERE swarm = ${swarm} AND id IN ${sql.list(dropLeases)}`]
      : []),
    ...(rows.length > 0
      ? [
          sql`INSERT INTO leases ${sql.rows(rows)} ON CONFLICT (swarm, id) DO UPDATE
            SET node = excluded.node, pull = excluded.pull, first_piece = excluded.first_piece,
              pieces = excluded.pieces, expires_at_ms = excluded.expires_at_ms, terms = excluded.terms`,
        ]
      : []),
  ]
}

/** Completions and SHA-1 hashes end with their epoch. Notes the rise for the nodes that hold the swarm. */
function changeCompletions(sql: Query, swarm: SwarmId, { dropCompletions, addCompletions }: SwarmChange) {
  const rows = [...new Set(addCompletions)].map((node) => ({ swarm, node }))
  return [
    ...(dropCompletions
      ? [
          sql`DELETE FROM completions WHERE swarm = ${swarm}`,
          sql`DELETE FROM pieces_sha1 WHERE swarm = ${swarm}`,
          sql`INSERT INTO epoch_changes (cluster, swarm, epoch) SELECT cluster, id, epoch FROM swarms WHERE id = ${swarm}`,
        ]
      : []),
    ...(rows.length > 0 ? [sql`INSERT INTO completions ${sql.rows(rows)} ON CONFLICT DO NOTHING`] : []),
  ]
}

function addDisputes(sql: Query, swarm: SwarmId, change: SwarmChange) {
  const rows = change.addDisputes.map((it) => ({
    ...{ swarm, kind: it.kind, epoch: it.epoch, piece: it.piece },
    ...{ publisher: it.publisher, publisher_pull: it.publisherPull, published_hash: it.publishedHash },
    ...{ reporter: it.reporter, reported_hash: it.reportedHash, at_ms: it.atMs },
  }))
  return rows.length > 0 ? [sql`INSERT INTO disputes ${sql.rows(rows)}`] : []
}

/**
 * Deletes swarms that no pull names any more and of which nothing was ever signed (if the epoch rose, something was). Run
 * it inside a transaction.
 */
export async function deleteUnpublishedSwarmRows(sql: Query): Promise<void> {
  const gone = await sql`DELETE FROM swarms WHERE epoch = 0
    AND NOT EXISTS (SELECT 1 FROM pieces WHERE swarm = swarms.id)
    AND NOT EXISTS (SELECT 1 FROM pull_blobs WHERE swarm = swarms.id) RETURNING id`
  if (gone.length > 0)
    await sql`DELETE FROM leases WHERE swarm IN ${sql.list(gone.map(({ id }) => id as string))}`
}
