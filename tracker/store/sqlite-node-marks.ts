import type { MarkedNode, NodeMarksRecord } from './node-marks.ts'
import { nodeMarksOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function nodeMarkRows(db: SqliteDatabase): NodeMarksRecord[] {
  return db.all('SELECT * FROM node_marks ORDER BY cluster, node').map(nodeMarksOf)
}

export function putLabelsRow(db: SqliteDatabase, { cluster, node }: MarkedNode, labels: object): void {
  const put = `INSERT INTO node_marks VALUES (?, ?, ?, 0)
    ON CONFLICT (cluster, node) DO UPDATE SET labels = excluded.labels`
  db.run(put, cluster, node, JSON.stringify(labels))
}

/** Run it inside a transaction. @returns false if it was so already */
export function putDrainedRow(
  db: SqliteDatabase,
  { cluster, node }: MarkedNode,
  isDrained: boolean,
): boolean {
  db.run("INSERT INTO node_marks VALUES (?, ?, '{}', 0) ON CONFLICT DO NOTHING", cluster, node)
  const put = 'UPDATE node_marks SET is_drained = ?3 WHERE cluster = ?1 AND node = ?2 AND is_drained <> ?3'
  return db.run(put, cluster, node, isDrained ? 1 : 0).changes > 0
}
