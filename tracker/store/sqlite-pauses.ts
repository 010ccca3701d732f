import type { PauseRecord, PauseTarget } from './pauses.ts'
import { ALL_NODES, pauseOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function pauseRows(db: SqliteDatabase): PauseRecord[] {
  return db.all('SELECT * FROM pauses ORDER BY cluster, node').map(pauseOf)
}

/** Run it inside a transaction. @returns false if it was so already */
export function putPauseRow(db: SqliteDatabase, { cluster, node, atMs }: PauseRecord): boolean {
  const put = 'INSERT INTO pauses VALUES (?, ?, ?) ON CONFLICT DO NOTHING'
  return db.run(put, cluster, node ?? ALL_NODES, atMs).changes > 0
}

/** Run it inside a transaction. @returns false if there was none */
export function deletePauseRow(db: SqliteDatabase, { cluster, node }: PauseTarget): boolean {
  const remove = 'DELETE FROM pauses WHERE cluster = ? AND node = ?'
  return db.run(remove, cluster, node ?? ALL_NODES).changes > 0
}
