import { ALL_NODES } from '../records.ts'
import type { PruneBounds } from '../store.ts'
import { deletePullRows } from './pull-rows.ts'
import type { Query } from './sql.ts'
import { deleteUnpublishedSwarmRows } from './swarm-rows.ts'
import { deleteOldTrackerRows } from './tracker-rows.ts'

/** Run it inside a transaction. Does nothing while another tracker does it. @returns how many nodes it forgot */
export async function pruneRows(sql: Query, before: PruneBounds): Promise<{ nodes: number }> {
  const [lock] = await sql`SELECT pg_try_advisory_xact_lock(hashtext('shoal prune')) AS is_mine`
  if (lock?.is_mine !== true) return { nodes: 0 }
  const { count } = await sql`DELETE FROM nodes WHERE renewed_at_ms < ${before.nodes}`
  await deletePullRows(sql, before)
  await sql`DELETE FROM leases WHERE expires_at_ms < ${before.pulls}`
  await sql`SELECT forget_audit(${before.audit})`
  await sql`DELETE FROM pauses WHERE node <> ${ALL_NODES} AND (cluster, node) NOT IN (SELECT cluster, node FROM nodes)`
  await sql`DELETE FROM node_marks WHERE (cluster, node) NOT IN (SELECT cluster, node FROM nodes)`
  await sql`DELETE FROM join_tokens WHERE withdrawn_at_ms < ${before.joinTokens} OR valid_until_ms < ${before.joinTokens}`
  await sql`DELETE FROM admin_tokens WHERE ends_at_ms < ${before.now}`
  await deleteUnpublishedSwarmRows(sql)
  await sql`DELETE FROM acceptances WHERE until_ms <= ${before.now}`
  await sql`DELETE FROM memberships WHERE until_ms <= ${before.now}`
  await deleteOldTrackerRows(sql)
  return { nodes: count }
}
