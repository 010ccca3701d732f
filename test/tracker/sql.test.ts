import { describe, expect, it } from 'vitest'
import { queryWith, type Rows, type Statement } from '../../tracker/store/postgres/sql.ts'

/** What a query sends. */
function recording() {
  const sent: Statement[] = []
  const rows = Object.assign([], { count: 0 }) as Rows
  const sql = queryWith(async (statement) => {
    sent.push(statement)
    return rows
  })
  return { sql, sent, rows }
}

describe('a statement', () => {
  it('has its values beside its text, whatever they contain', async () => {
    const { sql, sent, rows } = recording()
    const hostile = "'; DROP TABLE audit; --"
    const bytes = Buffer.from([0, 39])
    expect(await sql`SELECT ${hostile}, ${bytes} WHERE a = ${null} AND b = ${7}`).toBe(rows)
    const text = 'SELECT $1, $2 WHERE a = $3 AND b = $4'
    expect(sent).toEqual([{ text, values: [hostile, bytes, null, 7], isFixed: true }])
  })

  it('numbers the values of its parts where they stand', async () => {
    const { sql, sent } = recording()
    await sql`DELETE FROM t WHERE a = ${1} AND id IN ${sql.list(['x', "y'"])} AND b = ${2}`
    const text = 'DELETE FROM t WHERE a = $1 AND id IN ($2, $3) AND b = $4'
    expect(sent).toEqual([{ text, values: [1, 'x', "y'", 2], isFixed: false }])
  })

  it('inserts rows with the columns of the first; what a row lacks is null', async () => {
    const { sql, sent } = recording()
    await sql`INSERT INTO t ${sql.rows([{ a: 1, b: 'x' }, { b: 'y' }])} ON CONFLICT DO NOTHING`
    const text = 'INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING'
    expect(sent).toEqual([{ text, values: [1, 'x', null, 'y'], isFixed: false }])
  })

  it('takes text of the program as it is, and stays one whose plan may be kept', async () => {
    const { sql, sent } = recording()
    await sql`SELECT ${sql.text('now()')} - ${5}`
    expect(sent).toEqual([{ text: 'SELECT now() - $1', values: [5], isFixed: true }])
  })

  it('runs as given, without a plan that is kept', async () => {
    const { sql, sent } = recording()
    await sql.run('BEGIN')
    await sql.run('SELECT $1', [1])
    expect(sent).toEqual([
      { text: 'BEGIN', values: [], isFixed: false },
      { text: 'SELECT $1', values: [1], isFixed: false },
    ])
  })
})
