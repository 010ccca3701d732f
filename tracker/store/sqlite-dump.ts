import { StoreConflictError } from '../errors.ts'
import { type BackupHead, type Columns, dumpLines, type Value } from './dump.ts'
import { SqliteDatabase } from './sqlite-database.ts'
import type { EmptyStore } from './take-in.ts'

/**
 * Reads a store's file, also while a tracker uses it: everything is of one moment.
 * @param backup of a backup; otherwise it is an export
 * @throws StoreUnusableError
 */
export async function* dumpSqlite(
  path: string,
  backup?: Omit<BackupHead, 'clusters'>,
): AsyncGenerator<string> {
  const db = new SqliteDatabase(path)
  try {
    db.run('BEGIN')
    yield* dumpLines(async function* (table: string, columns: Columns) {
      // Tables without a rowid are in the order of their key.
      const order = ['authorities', 'batch_keys', 'disputes'].includes(table) ? 'rowid' : '1'
      for (const row of db.each(`SELECT ${columns.join(', ')} FROM ${table} ORDER BY ${order}`))
        yield columns.map((column) => row[column] as Value)
    }, backup)
    db.run('COMMIT')
  } finally {
    db.close()
  }
}

/**
 * Fills a new store in one transaction.
 * @throws StoreConflictError if the store is not new; the error of `work`; nothing is stored then
 */
export async function fillSqlite<T>(path: string, work: (store: EmptyStore) => Promise<T>): Promise<T> {
  const db = new SqliteDatabase(path)
  try {
    if (db.get('SELECT 1 FROM meta') !== undefined)
      throw new StoreConflictError('the store is not empty', {
        hint: 'Name a new data folder, or an empty database.',
      })
    db.run('PRAGMA synchronous = FULL')
    db.run('BEGIN IMMEDIATE')
    try {
      const result = await work({
        store: async (table, columns, rows) => {
          const places = columns.map(() => '?').join(', ')
          const insert = `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${places})`
          for (const row of rows) db.run(insert, ...row)
        },
        run: async (sql) => db.run(sql),
        number: async (sql) => Number(Object.values(db.get(sql)!)[0]),
        // They refuse the file's version.
        refuseOlderPrograms: async () => undefined,
      })
      db.run('COMMIT')
      return result
    } catch (error) {
      db.run('ROLLBACK')
      throw error
    }
  } finally {
    db.close()
  }
}
