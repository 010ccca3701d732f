import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { PULL_HISTORY_FILE, PullHistory } from '../../node/pull-history.ts'

const blob = {
  registry: 'registry.example' as never,
  repository: 'team/app' as never,
  digest: `sha256:${'a'.repeat(64)}` as never,
  isPart: false,
}

let folder: string
let warnings: Record<string, unknown>[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-history-'))
  warnings = []
})
afterEach(() => rmSync(folder, { recursive: true }))

const path = () => join(folder, PULL_HISTORY_FILE)
function open(changes: { sentToPeers?: () => number; saveEveryMs?: number } = {}): PullHistory {
  const log = { warn: (facts: object) => void warnings.push(facts as Record<string, unknown>) }
  return new PullHistory({ dataDir: folder, sentToPeers: () => 0, log: log as never, ...changes })
}

test('records and totals outlive a restart, in a file for its owner alone', async () => {
  const first = open({ sentToPeers: () => 5 })
  const account = first.records.begin(blob)
  account.reads({ peers: 7, registry: 3, cache: 0 })
  account.fell('STORE_FULL')
  account.end('swarm')
  await first.close()
  expect(statSync(path()).mode & 0o777).toBe(0o600)
  const second = open({ sentToPeers: () => 1 })
  expect(second.records.list()).toEqual(first.records.list())
  expect(second.records.list()).toMatchObject([{ outcome: 'done', reasons: ['STORE_FULL'] }])
  expect(second.records.total()).toEqual({ peers: 0, registry: 0, cache: 0, passedThrough: 0 })
  expect(second.sinceInstall()).toEqual({ peers: 7, registry: 3, cache: 0, passedThrough: 0, toPeers: 6 })
  expect(second.installedMs).toBe(first.installedMs)
  await second.close()
  expect(open().sinceInstall().toPeers).toBe(6)
  expect(warnings).toEqual([])
})

test('a pull that ran when the node was killed is interrupted', async () => {
  const killed = open({ saveEveryMs: 10 })
  killed.records.begin(blob)
  await expect.poll(() => JSON.parse(readFileSync(path(), 'utf8')).pulls.length).toBe(1)
  expect(killed.records.list()).toMatchObject([{ outcome: 'running' }])
  const next = open()
  expect(next.records.list()).toMatchObject([{ outcome: 'interrupted', endedMs: expect.any(Number) }])
  // It belongs to the past: asking again begins a new pull.
  next.records.begin(blob).end('swarm')
  expect(next.records.list().map(({ outcome }) => outcome)).toEqual(['done', 'interrupted'])
  await killed.close()
})

test('nothing is written while nothing changes', async () => {
  const history = open({ saveEveryMs: 5 })
  history.records.begin(blob).end('swarm')
  await expect.poll(() => statSync(path(), { throwIfNoEntry: false })?.ino).toBeDefined()
  const { ino, mtimeMs } = statSync(path())
  await new Promise((resolve) => setTimeout(resolve, 60))
  expect(statSync(path())).toMatchObject({ ino, mtimeMs })
  await history.close()
  expect(statSync(path())).toMatchObject({ ino, mtimeMs })
})

test.each([
  ['is no JSON', 'x', /JSON/],
  ['is as another version wrote it', '{"version":2}', /^a newer Shoal wrote it$/],
  [
    'has odd values',
    JSON.stringify({ version: 1, installedMs: -1, savedMs: 0, totals: {}, pulls: [] }),
    /not as/,
  ],
])('a file that %s costs the records and nothing else', async (_case, text, reason) => {
  writeFileSync(path(), text)
  const history = open()
  expect(history.records.list()).toEqual([])
  expect(warnings).toMatchObject([{ path: path(), reason: expect.stringMatching(reason) }])
  history.records.begin(blob).end('swarm')
  await history.close()
  expect(open().records.list()).toHaveLength(1)
})

test('a folder that cannot be written is said once, and the records stay in memory', async () => {
  const history = open({ saveEveryMs: 5 })
  rmSync(folder, { recursive: true })
  history.records.begin(blob).end('swarm')
  await expect.poll(() => warnings.length).toBe(1)
  history.records.begin(blob).end('swarm')
  await new Promise((resolve) => setTimeout(resolve, 40))
  expect(warnings).toHaveLength(1)
  expect(history.records.list()).toHaveLength(2)
  await history.close()
  folder = mkdtempSync(join(tmpdir(), 'shoal-history-'))
  chmodSync(folder, 0o700)
})
