/** SQL with values beside the text, never in it: a tagged template becomes a statement with parameters. */

/** A value of a column. Truth is stored as 0 or 1. */
export type SqlValue = string | number | null | Uint8Array

// biome-ignore lint/suspicious/noExplicitAny: what a column holds is known by the statement
export type Row = Record<string, any>

export interface Rows extends Array<Row> {
  /** Rows that the statement returned or changed. */
  count: number
}

export interface Statement {
  text: string
  values: SqlValue[]
  /** The text is the same at each call, so that the server may keep its plan. */
  isFixed: boolean
}

/** A part of a statement. */
class Fragment {
  readonly write: (place: (value: SqlValue) => string) => string
  readonly isFixed: boolean

  constructor(write: Fragment['write'], isFixed: boolean) {
    this.write = write
    this.isFixed = isFixed
  }
}

/** Runs statements, alone or within a transaction. */
export interface Query {
  (text: TemplateStringsArray, ...values: (SqlValue | Fragment)[]): Promise<Rows>
  /** `IN ${sql.list(values)}`. @param values at least one */
  list(values: readonly SqlValue[]): Fragment
  /** `INSERT INTO t ${sql.rows(rows)}`: columns, then values. @param rows at least one, all with the columns of the first */
  rows(rows: readonly Record<string, SqlValue>[]): Fragment
  /** Text of this program as part of a statement. */
  text(text: string): Fragment
  /** Statements of this program, one or, without values, several. */
  run(text: string, values?: SqlValue[]): Promise<Rows>
}

/** @param send runs one statement */
export function queryWith(send: (statement: Statement) => Promise<Rows>): Query {
  const tag = (texts: TemplateStringsArray, ...parts: (SqlValue | Fragment)[]) =>
    send(statementOf(texts, parts))
  return Object.assign(tag, {
    list: (items: readonly SqlValue[]) => new Fragment((place) => `(${items.map(place).join(', ')})`, false),
    rows: (rows: readonly Record<string, SqlValue>[]) =>
      new Fragment((place) => rowsText(rows, place), false),
    text: (text: string) => new Fragment(() => text, true),
    run: (text: string, values: SqlValue[] = []) => send({ text, values, isFixed: false }),
  })
}

export function statementOf(texts: readonly string[], parts: readonly (SqlValue | Fragment)[]): Statement {
  const values: SqlValue[] = []
  const place = (value: SqlValue) => `$${values.push(value)}`
  let text = texts[0] ?? ''
  let isFixed = true
  for (const [index, part] of parts.entries()) {
    text += part instanceof Fragment ? part.write(place) : place(part)
    text += texts[index + 1]
    isFixed &&= !(part instanceof Fragment) || part.isFixed
  }
  return { text, values, isFixed }
}

function rowsText(rows: readonly Record<string, SqlValue>[], place: (value: SqlValue) => string): string {
  const columns = Object.keys(rows[0] ?? {})
  const values = rows.map((row) => `(${columns.map((column) => place(row[column] ?? null)).join(', ')})`)
  return `(${columns.join(', ')}) VALUES ${values.join(', ')}`
}
