import type { ClusterId, SwarmId } from '../../../core/metainfo.ts'
import { StoreConflictError } from '../../errors.ts'
import { DISPUTES_LOADED_MAX, swarmOf, termsText } from '../records.ts'
import type { SwarmChange, SwarmIdentity, SwarmRecord } from '../store.ts'
import type { Query, Row } from './sql.ts'

export type SwarmKey = Pick<SwarmIdentity, 'cluster' | 'swarm'>

/** One row after the other by its key, whatever the planner expects of their number. @returns undefined for one that is not there */
export async function swarmVersions(sql: Query, keys: readonly SwarmKey[]): Promise<(number | undefined)[]> {
  const rows = await sql`SELECT place, version FROM ROWS FROM
      (jsonb_to_recordset(${JSON.stringify(keys)}::jsonb) AS (cluster text, swarm text)) WITH ORDINALITY
        AS it (cluster, swarm, place),
    LATERAL (SELECT version FROM swarms WHERE id = it.swarm AND cluster = it.cluster LIMIT 1) AS found`
  const versions = new Map(rows.map(({ place, version }) => [place as number, version as number]))
  return keys.map((_, index) => versions.get(index + 1))
}

/** Reads one swarm with everything that belongs to it, in one statement: all of one moment. */
export async function loadSwarmRows(
  sql: Query,
  cluster: ClusterId,
  swarm: SwarmId,
): Promise<SwarmRecord | undefined> {
  const [row] = await sql`SELECT swarms.*,
      (SELECT jsonb_agg(jsonb_build_object('piece', piece, 'hash', encode(hash, 'base64'), 'node', node, 'pull', pull)
        ORDER BY piece) FROM pieces WHERE swarm = swarms.id) AS pieces,
      (SELECT jsonb_agg(to_jsonb(leases)) FROM leases WHERE swarm = swarms.id) AS leases,
      (SELECT jsonb_agg(to_jsonb(completions)) FROM completions WHERE swarm = swarms.id) AS completions,
      (SELECT jsonb_agg(to_jsonb(newest) || jsonb_build_object('published_hash', encode(published_hash, 'base64'),
          'reported_hash', encode(reported_hash, 'base64')) ORDER BY at_ms, sequence)
        FROM (SELECT * FROM disputes WHERE swarm = swarms.id ORDER BY at_ms DESC, sequence DESC
          LIMIT ${DISPUTES_LOADED_MAX}) AS newest) AS disputes,
      EXISTS (SELECT 1 FROM pieces_sha1 WHERE swarm = swarms.id) AS has_pieces_sha1
    FROM swarms WHERE id = ${swarm} AND cluster = ${cluster}`
  if (row === undefined) return undefined
  return swarmOf({
    swarm: row,
    pieces: rowsOf(row.pieces, 'hash'),
    leases: rowsOf(row.leases),
    completions: rowsOf(row.completions),
    disputes: rowsOf(row.disputes, 'published_hash', 'reported_hash'),
    hasPiecesSha1: row.has_pieces_sha1,
  })
}

/** @param hashes columns that came as base64 */
function rowsOf(rows: Row[] | null, ...hashes: string[]): Row[] {
  return (rows ?? []).map((row) => ({
    ...row,
    ...Object.fromEntries(hashes.map((name) => [name, Buffer.from(row[name], 'base64')])),
  }))
}

/**
 * Applies one step's change.
 * @throws StoreConflictError if the swarm is at another version
 */
export async function changeSwarmRows(
  sql: Query,
  swarm: SwarmId,
  expected: number,
  change: SwarmChange,
): Promise<void> {
  const [row] = await sql`SELECT save_swarm(${swarm}, ${expected}, ${changeText(change)}) AS is_saved`
  if (row?.is_saved !== true) throw new StoreConflictError(`swarm ${swarm} is not at version ${expected}`)
}

/** For the function `save_swarm`. */
function changeText(change: SwarmChange): string {
  return JSON.stringify({
    ...change,
    putPieces: change.putPieces.map((it) => ({ ...it, hash: it.hash.toString('base64') })),
    putLeases: change.putLeases.map((it) => ({ ...it, terms: termsText(it) })),
    addDisputes: change.addDisputes.map((it) => ({
      ...it,
      publishedHash: it.publishedHash.toString('base64'),
      reportedHash: it.reportedHash.toString('base64'),
    })),
  })
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
