import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { nodeOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import type { NodeRecord } from './store.ts'

export function putNodeRow(db: SqliteDatabase, node: NodeRecord): void {
  const put = `INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET address = excluded.address, renewed_at_ms = excluded.renewed_at_ms, wire = excluded.wire`
  db.run(put, node.cluster, node.node, node.address, node.joinedAtMs, node.renewedAtMs, node.wire)
}

/** @returns false if the node is not on record */
export function renewNodeRow(db: SqliteDatabase, node: NodeRecord): boolean {
  const renew = 'UPDATE nodes SET address = ?, renewed_at_ms = ?, wire = ? WHERE cluster = ? AND node = ?'
  return db.run(renew, node.address, node.renewedAtMs, node.wire, node.cluster, node.node).changes > 0
}

/** @returns false if it is not on record */
export function removeNodeRow(db: SqliteDatabase, cluster: ClusterId, node: NodeId): boolean {
  return db.run('DELETE FROM nodes WHERE cluster = ? AND node = ?', cluster, node).changes > 0
}

export function hasNodeRow(db: SqliteDatabase, cluster: ClusterId, node: NodeId): boolean {
  return db.get('SELECT 1 FROM nodes WHERE cluster = ? AND node = ?', cluster, node) !== undefined
}

/** Nodes of one cluster or of all, ordered by cluster and node. */
export function nodeRows(db: SqliteDatabase, cluster: ClusterId | undefined): NodeRecord[] {
  const all = 'SELECT * FROM nodes WHERE ?1 IS NULL OR cluster = ?1 ORDER BY cluster, node'
  return db.all(all, cluster ?? null).map(nodeOf)
}
