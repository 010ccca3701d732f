import { type BlockRecord, type BlocksRecord, blockColumns, blocksOf } from './blocks.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function blockRows(db: SqliteDatabase): BlocksRecord {
  return blocksOf(db.all('SELECT * FROM blocks ORDER BY changed'))
}

const NEXT = '(SELECT coalesce(max(changed), 0) + 1 FROM blocks)'

/** Run it inside a transaction. */
export function insertBlockRow(db: SqliteDatabase, block: BlockRecord): void {
  const { id, cluster, registry, repository, digest, atMs } = blockColumns(block)
  const put = `INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ${NEXT}, 0)`
  db.run(put, id, cluster, registry, repository, digest, atMs)
  dropOldRemovals(db)
}

/** Run it inside a transaction. @returns false if no such block is in force */
export function removeBlockRow(db: SqliteDatabase, id: string): boolean {
  const remove = `UPDATE blocks SET is_removed = 1, changed = ${NEXT} WHERE id = ? AND is_removed = 0`
  if (db.run(remove, id).changes === 0) return false
  dropOldRemovals(db)
  return true
}

/** Of a cluster's removals only its newest change counts. */
function dropOldRemovals(db: SqliteDatabase): void {
  db.run(`DELETE FROM blocks WHERE is_removed = 1
    AND changed < (SELECT max(changed) FROM blocks AS newer WHERE newer.cluster = blocks.cluster)`)
}
