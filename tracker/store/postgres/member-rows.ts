import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import type { SealedAdminToken } from '../admin-tokens.ts'
import { ENDED_JOIN_TOKENS_MAX, type JoinTokenRecord } from '../join-tokens.ts'
import type { MarkedNode } from '../node-marks.ts'
import type { PauseRecord, PauseTarget } from '../pauses.ts'
import { ALL_NODES } from '../records.ts'
import type { NewRevocation } from '../revocations.ts'
import type { NodeRecord } from '../store.ts'
import { orderLock } from './schema.ts'
import type { Query } from './sql.ts'

/** Who is in a cluster: join tokens, nodes, pauses, revocations; and who administers. */

export async function insertJoinTokenRow(sql: Query, token: JoinTokenRecord): Promise<void> {
  await sql`INSERT INTO join_tokens VALUES (${token.id}, ${token.cluster}, ${token.sealedHash}, ${token.createdAtMs},
    ${token.validUntilMs}, ${token.usesMax}, ${token.uses}, ${token.withdrawnAtMs})`
}

/** Run it inside a transaction. Deletes the oldest ended tokens above the bound. */
export async function addJoinTokenRow(
  sql: Query,
  token: JoinTokenRecord,
  { replaces, nowMs }: { replaces: boolean; nowMs: number },
): Promise<void> {
  const { cluster } = token
  if (replaces)
    await sql`UPDATE join_tokens SET withdrawn_at_ms = ${nowMs} WHERE cluster = ${cluster} AND withdrawn_at_ms IS NULL`
  await insertJoinTokenRow(sql, token)
  await sql`DELETE FROM join_tokens WHERE id IN (
    SELECT id FROM join_tokens WHERE cluster = ${cluster}
      AND (withdrawn_at_ms IS NOT NULL OR valid_until_ms <= ${nowMs} OR uses >= uses_max)
    ORDER BY created_at_ms DESC, id OFFSET ${ENDED_JOIN_TOKENS_MAX})`
}

export async function withdrawJoinTokenRow(
  sql: Query,
  cluster: ClusterId,
  id: string,
  atMs: number,
): Promise<boolean> {
  const { count } = await sql`UPDATE join_tokens SET withdrawn_at_ms = ${atMs}
    WHERE cluster = ${cluster} AND id = ${id} AND withdrawn_at_ms IS NULL`
  return count > 0
}

/** @returns false if one of that name counts */
export async function putAdminTokenRow(sql: Query, token: SealedAdminToken): Promise<boolean> {
  const { count } = await sql`INSERT INTO admin_tokens AS known
    VALUES (${token.name}, ${token.role}, ${token.hash}, ${token.createdAtMs}, ${token.endsAtMs}, ${token.sealed})
    ON CONFLICT (name) DO UPDATE SET role = excluded.role, hash = excluded.hash,
      created_at_ms = excluded.created_at_ms, ends_at_ms = excluded.ends_at_ms, sealed = excluded.sealed
    WHERE known.ends_at_ms <= excluded.created_at_ms`
  return count > 0
}

/** @returns false if there is none of that name */
export async function deleteAdminTokenRow(sql: Query, name: string): Promise<boolean> {
  const { count } = await sql`DELETE FROM admin_tokens WHERE name = ${name}`
  return count > 0
}

/** Counts one node. @returns false if the token was used up or withdrawn meanwhile */
export async function useJoinTokenRow(sql: Query, id: string): Promise<boolean> {
  const { count } = await sql`UPDATE join_tokens SET uses = uses + 1
    WHERE id = ${id} AND withdrawn_at_ms IS NULL AND (uses_max IS NULL OR uses < uses_max)`
  return count > 0
}

/** @returns whether the node was not on record */
export async function putNodeRow(sql: Query, node: NodeRecord): Promise<boolean> {
  // `xmax` is 0 in a row that this very statement inserted.
  const [row] = await sql`
    INSERT INTO nodes VALUES (${node.cluster}, ${node.node}, ${node.address}, ${node.joinedAtMs}, ${node.renewedAtMs},
      ${node.wire})
    ON CONFLICT (cluster, node) DO UPDATE
      SET address = excluded.address, renewed_at_ms = excluded.renewed_at_ms, wire = excluded.wire
    RETURNING (xmax = 0) AS is_new`
  return row?.is_new === true
}

/** @returns false if the node is not on record */
export async function renewNodeRow(sql: Query, node: NodeRecord): Promise<boolean> {
  const { count } = await sql`UPDATE nodes
    SET address = ${node.address}, renewed_at_ms = ${node.renewedAtMs}, wire = ${node.wire}
    WHERE cluster = ${node.cluster} AND node = ${node.node}`
  return count > 0
}

export type NodeKey = Pick<NodeRecord, 'cluster' | 'node'>

/** One row after the other by its key, whatever the planner expects of their number. */
export async function areNodeRows(sql: Query, keys: readonly NodeKey[]): Promise<boolean[]> {
  const rows = await sql`SELECT place FROM ROWS FROM
      (jsonb_to_recordset(${JSON.stringify(keys)}::jsonb) AS (cluster text, node text)) WITH ORDINALITY
        AS it (cluster, node, place),
    LATERAL (SELECT 1 FROM nodes WHERE cluster = it.cluster AND node = it.node LIMIT 1) AS found`
  const places = new Set(rows.map(({ place }) => place as number))
  return keys.map((_, index) => places.has(index + 1))
}

/** @returns false if it is not on record */
export async function removeNodeRow(sql: Query, cluster: ClusterId, node: NodeId): Promise<boolean> {
  const { count } = await sql`DELETE FROM nodes WHERE cluster = ${cluster} AND node = ${node}`
  return count > 0
}

export async function putLabelsRow(sql: Query, { cluster, node }: MarkedNode, labels: object): Promise<void> {
  await sql`INSERT INTO node_marks VALUES (${cluster}, ${node}, ${JSON.stringify(labels)}, 0)
    ON CONFLICT (cluster, node) DO UPDATE SET labels = excluded.labels`
}

/** Run it inside a transaction. @returns false if it was so already */
export async function putDrainedRow(
  sql: Query,
  { cluster, node }: MarkedNode,
  isDrained: boolean,
): Promise<boolean> {
  await sql`INSERT INTO node_marks VALUES (${cluster}, ${node}, '{}', 0) ON CONFLICT DO NOTHING`
  const wanted = isDrained ? 1 : 0
  const { count } = await sql`UPDATE node_marks SET is_drained = ${wanted}
    WHERE cluster = ${cluster} AND node = ${node} AND is_drained <> ${wanted}`
  return count > 0
}

/** @returns false if it was so already */
export async function putPauseRow(sql: Query, { cluster, node, atMs }: PauseRecord): Promise<boolean> {
  const { count } =
    await sql`INSERT INTO pauses VALUES (${cluster}, ${node ?? ALL_NODES}, ${atMs}) ON CONFLICT DO NOTHING`
  return count > 0
}

/** @returns false if there was none */
export async function deletePauseRow(sql: Query, { cluster, node }: PauseTarget): Promise<boolean> {
  const { count } = await sql`DELETE FROM pauses WHERE cluster = ${cluster} AND node = ${node ?? ALL_NODES}`
  return count > 0
}

/** Run it inside a transaction. @returns the sequence number */
export async function insertRevocationRow(sql: Query, it: NewRevocation): Promise<number> {
  await sql`SELECT pg_advisory_xact_lock(${sql.text(orderLock('revocations'))})`
  const [row] = await sql`
    INSERT INTO revocations (cluster, kind, target, registry, subject, token_hash, at_ms, ends_at_ms, is_left)
    VALUES (${it.cluster}, ${it.kind}, ${it.target}, ${it.registry}, ${it.subject}, ${it.tokenHash}, ${it.atMs},
      ${it.endsAtMs}, ${it.isLeft ? 1 : 0})
    RETURNING sequence`
  return row?.sequence as number
}

/** Run it inside a transaction. @returns false if no such revocation is in force */
export async function clearRevocationRow(sql: Query, sequence: number, atMs: number): Promise<boolean> {
  await sql`SELECT pg_advisory_xact_lock(${sql.text(orderLock('revocations'))})`
  const [clearing] = await sql`
    INSERT INTO revocations (cluster, kind, target, at_ms, is_clearing)
    SELECT cluster, kind, target, ${atMs}, 1 FROM revocations
      WHERE sequence = ${sequence} AND is_clearing = 0 AND cleared_by IS NULL
    RETURNING sequence`
  if (clearing === undefined) return false
  await sql`UPDATE revocations SET cleared_by = ${clearing.sequence} WHERE sequence = ${sequence}`
  return true
}
