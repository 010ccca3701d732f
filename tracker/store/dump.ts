import { createHash, type Hash } from 'node:crypto'
import { StoreDumpError } from '../errors.ts'

/**
 * A store as text, to move it from one database to another: one JSON document a line. First `{"shoal":"store","version":2}`,
 * or, of a backup, `{"shoal":"backup",…}` with what is in it (`BackupHead`); then `[table, value, …]` for each row with the columns of `DUMPED` in their order, bytes as `{"b":"<base64>"}`, and at last
 * `{"rows":n,"sha256":"…"}` over all lines before. Secrets are in it as they are stored: sealed. What trackers only remember
 * for a while (presences, acceptances, memberships) is left out.
 */

export type Value = string | number | null | Uint8Array
export type Columns = readonly string[]

/** 2: a restored store is known as such, which a program of version 1 would pass over. */
export const DUMP_VERSION = 2
/** Of one row: hashes of the pieces of the largest blob. */
export const DUMP_LINE_CHARS_MAX = 16 * 1024 * 1024

/** In an order in which rows can be stored: what is named comes before what names it. */
export const DUMPED: Readonly<Record<string, Columns>> = {
  meta: ['name', 'value'],
  clusters: ['id', 'name', 'created_at_ms'],
  authorities: ['cluster', 'created_at_ms', 'certificate_pem', 'sealed_key'],
  batch_keys: ['cluster', 'created_at_ms', 'public_key', 'sealed_key', 'ends_at_ms'],
  join_tokens: [
    ...[
      'id',
      'cluster',
      'sealed_hash',
      'created_at_ms',
      'valid_until_ms',
      'uses_max',
      'uses',
      'withdrawn_at_ms',
    ],
  ],
  admin_tokens: ['name', 'role', 'hash', 'created_at_ms', 'ends_at_ms', 'sealed'],
  nodes: ['cluster', 'node', 'address', 'joined_at_ms', 'renewed_at_ms', 'wire'],
  pauses: ['cluster', 'node', 'at_ms'],
  node_marks: ['cluster', 'node', 'labels', 'is_drained'],
  pulls: [
    ...['id', 'cluster', 'node', 'registry', 'repository', 'subject', 'token_hash', 'spki', 'granted_at_ms'],
    ...['expires_at_ms', 'token_key'],
  ],
  pull_blobs: ['pull', 'swarm', 'digest', 'cluster', 'node', 'granted_at_ms', 'completed_at_ms'],
  swarms: ['id', 'cluster', 'registry', 'digest', 'bytes', 'version', 'epoch', 'is_confirmed'],
  pieces: ['swarm', 'piece', 'hash', 'node', 'pull'],
  leases: ['swarm', 'id', 'node', 'pull', 'first_piece', 'pieces', 'expires_at_ms', 'terms'],
  completions: ['swarm', 'node'],
  disputes: [
    ...['swarm', 'kind', 'epoch', 'piece', 'publisher', 'publisher_pull', 'published_hash', 'reporter'],
    ...['reported_hash', 'at_ms'],
  ],
  pieces_sha1: ['swarm', 'node', 'hashes'],
  epoch_changes: ['sequence', 'cluster', 'swarm', 'epoch'],
  revocations: [
    ...['sequence', 'cluster', 'kind', 'target', 'registry', 'subject', 'token_hash', 'at_ms', 'ends_at_ms'],
    ...['is_left', 'is_clearing', 'cleared_by'],
  ],
  token_keys: ['id', 'key', 'probed_at_ms', 'trusted_until_ms', 'withdrawn_at_ms', 'sealed'],
  audit: ['sequence', 'at_ms', 'actor', 'action', 'cluster', 'target'],
  restores: ['restored_at_ms', 'backup_at_ms', 'revocations_from', 'confirmed_at_ms'],
  restore_heard: ['cluster', 'node', 'at_ms'],
  restore_learned: ['cluster', 'id', 'copy', 'nodes'],
}

/** What a backup says of itself. */
export interface BackupHead {
  /** Of the program that took it. */
  program: string
  takenAtMs: number
  clusters: string[]
}

/** The first line. */
export interface DumpHead extends Partial<BackupHead> {
  shoal: 'store' | 'backup'
  version: number
}

/** Tables whose rows are numbered; the next number must be above all that were stored. */
export const NUMBERED = ['epoch_changes', 'revocations', 'audit'] as const

/** Rows in order of the table's own numbering. */
export type DumpSource = (table: string, columns: Columns) => AsyncIterable<Value[]>
export type DumpTarget = (table: string, columns: Columns, rows: Value[][]) => Promise<void>

/** @param backup of a backup; otherwise it is an export @returns lines, without their ends */
export async function* dumpLines(
  rowsOf: DumpSource,
  backup?: Omit<BackupHead, 'clusters'>,
): AsyncGenerator<string> {
  const sum = createHash('sha256')
  let rows = 0
  const line = (value: unknown) => {
    const text = JSON.stringify(value)
    sum.update(`${text}\n`)
    return text
  }
  const version = DUMP_VERSION
  if (backup === undefined) yield line({ shoal: 'store', version })
  else {
    const clusters = await Array.fromAsync(rowsOf('clusters', ['id']), ([id]) => id)
    yield line({ shoal: 'backup', version, ...backup, clusters })
  }
  for (const [table, columns] of Object.entries(DUMPED)) {
    for await (const row of rowsOf(table, columns)) {
      rows += 1
      yield line([table, ...row.map(toJson)])
    }
  }
  yield JSON.stringify({ rows, sha256: sum.digest('hex') })
}

/** Rows stored by one statement. */
const ROWS_MAX = 500

export interface Loaded {
  rows: number
  head: DumpHead
}

/**
 * Stores what `dumpLines` wrote. Run it inside a transaction: a dump that turns out to be damaged must leave nothing.
 * @throws StoreDumpError
 */
export async function loadLines(lines: AsyncIterable<string>, store: DumpTarget): Promise<Loaded> {
  const sum = createHash('sha256')
  let rows = 0
  let waiting: { table: string; rows: Value[][] } = { table: '', rows: [] }
  let end: { rows: unknown; sha256: unknown } | undefined
  let head: DumpHead | undefined
  const flush = async () => {
    if (waiting.rows.length > 0)
      await store(waiting.table, DUMPED[waiting.table]!, waiting.rows).catch(refuseUnfit)
    waiting.rows = []
  }
  for await (const line of lines) {
    if (end !== undefined) throw damaged('something follows its last line')
    if (line.length > DUMP_LINE_CHARS_MAX) throw damaged('a line is too long')
    const value = parsed(line)
    if (head === undefined) head = checkedHead(value)
    else if (Array.isArray(value)) {
      const { table, row } = rowOf(value)
      if (table !== waiting.table || waiting.rows.length >= ROWS_MAX) {
        await flush()
        waiting = { table, rows: [] }
      }
      waiting.rows.push(row)
      rows += 1
    } else {
      end = value as typeof end
      continue
    }
    sum.update(`${line}\n`)
  }
  await flush()
  checkEnd(end, rows, sum)
  return { rows, head: head! }
}

function checkedHead(value: unknown): DumpHead {
  const head = (value ?? {}) as DumpHead
  if (head.shoal !== 'store' && head.shoal !== 'backup')
    throw new StoreDumpError('this is neither an export nor a backup of a tracker')
  if (!Number.isSafeInteger(head.version) || head.version < 1 || head.version > DUMP_VERSION)
    throw new StoreDumpError(
      `this file has version ${head.version}, and this program reads those up to ${DUMP_VERSION}`,
      { hint: 'Use the version of Shoal that wrote it, or a newer one.' },
    )
  return head
}

function checkEnd(end: { rows: unknown; sha256: unknown } | undefined, rows: number, sum: Hash): void {
  if (end === undefined) throw damaged('its end is missing')
  if (end.rows !== rows || end.sha256 !== sum.digest('hex')) throw damaged('its checksum is wrong')
}

function rowOf([table, ...values]: unknown[]): { table: string; row: Value[] } {
  const columns = typeof table === 'string' && Object.hasOwn(DUMPED, table) ? DUMPED[table] : undefined
  if (columns === undefined || values.length !== columns.length)
    throw damaged('it has a row of no known form')
  return { table: table as string, row: values.map(fromJson) }
}

function toJson(value: Value): unknown {
  return value instanceof Uint8Array ? { b: Buffer.from(value).toString('base64') } : value
}

function fromJson(value: unknown): Value {
  if (value === null || typeof value === 'string' || Number.isSafeInteger(value)) return value as Value
  const { b } = value as { b?: unknown }
  if (typeof b === 'string') return Buffer.from(b, 'base64')
  throw damaged('it has a value of no known form')
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw damaged('a line is not JSON')
  }
}

/** SQLite's constraints; PostgreSQL's classes 22 (data exception) and 23 (integrity constraint violation). */
function refuseUnfit(error: unknown): never {
  const code = String((error as { code?: unknown }).code)
  if (/^(?:ERR_SQLITE_ERROR|2[23]...)$/.test(code)) throw damaged('a row does not fit its table')
  throw error
}

function damaged(why: string): StoreDumpError {
  return new StoreDumpError(`the export is damaged: ${why}`)
}
