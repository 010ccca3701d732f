import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { DUMPED } from '../../tracker/store/dump.ts'
import { SqliteDatabase } from '../../tracker/store/sqlite-database.ts'
import { dumpSqlite, fillSqlite } from '../../tracker/store/sqlite-dump.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { importLines } from '../../tracker/store/take-in.ts'
import { each, fillStore, linesOf } from './filled-store.ts'

let folder: string
let path: string
let lines: string[]
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-dump-'))
  path = join(folder, 'from.sqlite')
  const store = new SqliteStore(path)
  await fillStore(store)
  await store.close()
  const database = new SqliteDatabase(path)
  database.run('INSERT INTO restores VALUES (7, 6, 5, 8)')
  database.close()
  lines = await linesOf(dumpSqlite(path))
})
afterEach(() => rmSync(folder, { recursive: true }))

const load = async (changed: string[]) =>
  (await fillSqlite(join(folder, 'to.sqlite'), (store) => importLines(each(changed), store))).rows

it('has every table of the store but what is remembered for a while, with every column', () => {
  const database = new SqliteDatabase(':memory:')
  const tables = database.all(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
  )
  const columns = (table: string) =>
    database.all(`PRAGMA table_info(${table})`).map(({ name }) => name as string)
  const names = tables.map(({ name }) => name as string)
  const passing = ['presences', 'acceptances', 'memberships']
  expect(names.filter((name) => !passing.includes(name)).toSorted()).toEqual(Object.keys(DUMPED).toSorted())
  for (const [table, dumped] of Object.entries(DUMPED))
    expect(dumped.toSorted(), table).toEqual(columns(table).toSorted())
  database.close()
  const dumped = new Set(lines.slice(1, -1).map((line) => (JSON.parse(line) as string[])[0]))
  expect([...dumped].toSorted(), 'the test fills every table').toEqual(Object.keys(DUMPED).toSorted())
})

it('is the same after it was stored elsewhere, and numbering goes on above it', async () => {
  expect(await load(lines)).toBe(lines.length - 2)
  const to = join(folder, 'to.sqlite')
  expect(await linesOf(dumpSqlite(to))).toEqual(lines)
  const store = new SqliteStore(to)
  const [newest] = await store.audit({ limit: 1 })
  await store.addAudit({ atMs: 1, actor: 'a', action: 'after', cluster: null, target: 't' })
  expect((await store.audit({ limit: 1 }))[0]?.sequence).toBeGreaterThan(newest!.sequence)
  await store.close()
})

it('is not stored over another', async () => {
  await load(lines)
  await expect(load(lines)).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
})

it.each([
  ['cut off', (all: string[]) => all.slice(0, -1)],
  ['without a row', (all: string[]) => all.toSpliced(2, 1)],
  ['with a row twice', (all: string[]) => all.toSpliced(2, 0, all[2]!)],
  ['changed', (all: string[]) => all.map((line) => line.replace('a cluster', 'b cluster'))],
  ['with something behind it', (all: string[]) => [...all, '{}']],
  ['no JSON', (all: string[]) => all.with(3, 'x')],
  ['of another version', (all: string[]) => all.with(0, '{"shoal":"store","version":3}')],
  ['something else', () => ['{"name":"x"}', '[]']],
  ['empty', () => []],
  ['with an unknown table', (all: string[]) => all.with(2, '["sqlite_schema","x"]')],
  ['with a name of JavaScript as table', (all: string[]) => all.with(2, '["constructor","x"]')],
  ['with a value of another form', (all: string[]) => all.with(2, '["meta","x",{"c":1}]')],
])('%s is refused, and nothing is stored', async (_, change) => {
  await expect(load(change(lines))).rejects.toMatchObject({ code: 'STORE_DUMP' })
  expect(await load(lines)).toBe(lines.length - 2)
})

it('is not imported if it is a backup: that is restored', async () => {
  const backup = await linesOf(dumpSqlite(path, { program: '1.2.3', takenAtMs: 9 }))
  expect(JSON.parse(backup[0]!)).toEqual({
    ...{ shoal: 'backup', version: 2, program: '1.2.3', takenAtMs: 9 },
    clusters: [`c${'1'.repeat(16)}`],
  })
  await expect(load(backup)).rejects.toMatchObject({ code: 'STORE_DUMP', hint: /restore/ })
  expect(await load(lines)).toBe(lines.length - 2)
})
