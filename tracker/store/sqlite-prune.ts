import type { SqliteDatabase } from './sqlite-database.ts'
import { deleteEndedTokenRows } from './sqlite-join-tokens.ts'
import { deleteEndedMemoryRows } from './sqlite-memory.ts'
import { deletePullRows } from './sqlite-pulls.ts'
import { deleteUnpublishedSwarmRows } from './sqlite-swarms.ts'
import type { PruneBounds } from './store.ts'

/** Run it inside a transaction. @returns how many nodes it forgot */
export function pruneRows(db: SqliteDatabase, before: PruneBounds): { nodes: number } {
  const { changes } = db.run('DELETE FROM nodes WHERE renewed_at_ms < ?1', before.nodes)
  deletePullRows(db, before)
  db.run('DELETE FROM leases WHERE expires_at_ms < ?1', before.pulls)
  db.run('DELETE FROM audit WHERE at_ms < ?1', before.audit)
  db.run("DELETE FROM pauses WHERE node <> '' AND (cluster, node) NOT IN (SELECT cluster, node FROM nodes)")
  db.run('DELETE FROM node_marks WHERE (cluster, node) NOT IN (SELECT cluster, node FROM nodes)')
  deleteEndedTokenRows(db, before.joinTokens)
  db.run('DELETE FROM admin_tokens WHERE ends_at_ms < ?', before.now)
  deleteUnpublishedSwarmRows(db)
  deleteEndedMemoryRows(db, before.now)
  return { nodes: changes }
}
