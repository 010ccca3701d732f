import { StoreConflictError } from '../errors.ts'
import { type Columns, dumpLines, loadLines, type Value } from './dump.ts'
import { SqliteDatabase } from './sqlite-database.ts'

/** Reads a store's file, also while a tracker uses it: everything is of one moment. @throws StoreUnusableError */
export async function* dumpSqlite(path: string): AsyncGenerator<string> {
  const db = new SqliteDatabase(path)
  try {
    db.run('BEGIN')
    yield* dumpLines(async function* (table: string, columns: Columns) {
      // Tables without a rowid are in the order of their key.
      const order = ['authorities', 'batch_keys', 'disputes'].includes(table) ? 'rowid' : '1'
      for (const row of db.each(`SELECT ${columns.join(', ')} FROM ${table} ORDER BY ${order}`))
        yield columns.map((column) => row[column] as Value)
    })
    db.run('COMMIT')
  } finally {
    db.close()
  }
}

/** @throws StoreConflictError if the store is not new; StoreDumpError; nothing is stored then */
export async function loadSqlite(path: string, lines: AsyncIterable<string>): Promise<number> {
  const db = new SqliteDatabase(path)
  try {
    if (db.get('SELECT 1 FROM meta') !== undefined)
      throw new StoreConflictError('the store is in use already')
    db.run('BEGIN IMMEDIATE')
    try {
      const rows = await loadLines(lines, async (table, columns, rows) => {
        const places = columns.map(() => '?').join(', ')
        const insert = `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${places})`
        for (const row of rows) db.run(insert, ...row)
      })
      db.run('COMMIT')
      return rows
    } catch (error) {
      db.run('ROLLBACK')
      throw error
    }
  } finally {
    db.close()
  }
}
