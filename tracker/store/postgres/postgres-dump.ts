import { StoreConflictError } from '../../errors.ts'
import { type BackupHead, type Columns, dumpLines, NUMBERED, type Value } from '../dump.ts'
import type { EmptyStore } from '../take-in.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { POSTGRES_MIGRATIONS } from './schema.ts'

/** Rows that are in memory at a time. */
const ROWS_MAX = 500

/** Everything is of one moment; trackers may go on. @param backup of a backup; otherwise it is an export */
export async function dumpPostgres(
  database: PostgresDatabase,
  write: (lines: AsyncIterable<string>) => Promise<void>,
  backup?: Omit<BackupHead, 'clusters'>,
): Promise<void> {
  await database.atLength('reading', async (sql) => {
    const lines = dumpLines(async function* (table: string, columns: Columns) {
      const order = ['authorities', 'batch_keys', 'disputes'].includes(table) ? 'sequence' : '1'
      await sql.run(`DECLARE dumped CURSOR FOR SELECT ${columns.join(', ')} FROM ${table} ORDER BY ${order}`)
      for (;;) {
        const rows = await sql.run(`FETCH ${ROWS_MAX} FROM dumped`)
        if (rows.length === 0) break
        for (const row of rows) yield columns.map((column) => row[column] as Value)
      }
      await sql.run('CLOSE dumped')
    }, backup)
    await write(lines)
  })
}

/**
 * Fills a new store in one transaction.
 * @throws StoreConflictError if the store is not new; the error of `work`; nothing is stored then
 */
export async function fillPostgres<T>(
  database: PostgresDatabase,
  work: (store: EmptyStore) => Promise<T>,
): Promise<T> {
  return await database.atLength('writing', async (sql) => {
    await sql`LOCK TABLE meta IN EXCLUSIVE MODE`
    if ((await sql`SELECT 1 FROM meta LIMIT 1`).length > 0)
      throw new StoreConflictError('the store is not empty', {
        hint: 'Name a new data folder, or an empty database.',
      })
    const result = await work({
      store: async (table, columns, rows) => {
        const places = rows.map(
          (_, row) => `(${columns.map((_, column) => `$${row * columns.length + column + 1}`).join(', ')})`,
        )
        const insert = `INSERT INTO ${table} (${columns.join(', ')}) OVERRIDING SYSTEM VALUE VALUES ${places.join(', ')}`
        await sql.run(insert, rows.flat())
      },
      run: (statement) => sql.run(statement),
      number: async (query) => Number(Object.values((await sql.run(query))[0]!)[0]),
      refuseOlderPrograms: () =>
        sql`UPDATE migrations SET oldest_program = ${POSTGRES_MIGRATIONS.length}
          WHERE number = ${POSTGRES_MIGRATIONS.length}`,
    })
    for (const table of NUMBERED)
      await sql.run(
        `SELECT setval(pg_get_serial_sequence('${table}', 'sequence'), coalesce(max(sequence), 0) + 1, false) FROM ${table}`,
      )
    return result
  })
}
