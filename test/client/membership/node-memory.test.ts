import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ClusterTrustState } from '../../../client/membership/cluster-trust.ts'
import {
  MEMORY_KEPT_MS,
  MEMORY_SAVED_AFTER_MS,
  type MemoryRecord,
  NODE_MEMORY_FILE,
  NodeMemory,
} from '../../../client/membership/node-memory.ts'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import { TokenKeys } from '../../../core/token-keys.ts'

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'shoal-memory-'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

const CLUSTER = `c${'1'.repeat(16)}` as ClusterId
const NODE = '1'.repeat(40) as NodeId
const log = pino({ level: 'silent' })
const memoryOf = (record: MemoryRecord) => new NodeMemory({ dataDir, log, record: () => record })
const newTrust = () => new ClusterTrustState(new TokenKeys({ registries: new Map() as never }))

async function someRecord(changes: Partial<MemoryRecord> = {}): Promise<MemoryRecord> {
  const { certificatePem } = await makeAuthority({ commonName: 'cluster', validForSeconds: 60 })
  const { x: batchKey = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  const trust = newTrust()
  trust.cluster = CLUSTER
  trust.update({ authorities: [certificatePem], batchKeys: [batchKey], tokenKeys: [] })
  trust.revoke(7, [{ kind: 'node', node: NODE }], true)
  const serving = { certificatePem, privateKeyPem: 'key', expiresAtMs: Date.now() + 60_000 }
  const link = { certificatePem, expiresAtMs: serving.expiresAtMs }
  return { trust: trust.record(), serving, link, accepted: [], memberships: [], ...changes }
}

test('revocations and authorities are the same after a restart', async () => {
  const record = await someRecord()
  await memoryOf(record).close()
  const trust = newTrust()
  trust.restore(memoryOf(record).load(Date.now())!.trust!)
  expect([trust.cluster, trust.revocationsVersion, trust.authorities]).toEqual([
    ...[CLUSTER, 7, record.trust!.trust.authorities],
  ])
  expect(trust.isRevoked({ kind: 'node', cluster: CLUSTER, node: NODE })).toBe(true)
  expect(trust.record()).toEqual(record.trust)
})

test('what has ended, and a trust of more than a day ago, is not taken up', async () => {
  const record = await someRecord()
  const { heardAtMs } = record.trust!
  const ends: [string, number][] = [
    ['ended', heardAtMs + 10],
    ['live', heardAtMs + 2 * MEMORY_KEPT_MS],
  ]
  const memory = memoryOf({ ...record, accepted: ends, memberships: ends })
  await memory.close()
  expect(memory.load(heardAtMs + MEMORY_KEPT_MS - 1)!.trust).toEqual(record.trust)
  const late = memory.load(heardAtMs + MEMORY_KEPT_MS)!
  expect(late).toEqual({
    trust: null,
    serving: null,
    link: null,
    accepted: [ends[1]],
    memberships: [ends[1]],
  })
  expect(memory.load(record.serving!.expiresAtMs)!.serving).toBe(null)
  expect(memory.load(heardAtMs - 1)).toBe(undefined)
})

test('many changes are one file, for its owner only, and none comes after the end', async () => {
  const memory = memoryOf(await someRecord())
  for (let count = 0; count < 100; count++) memory.changed()
  expect(readdirSync(dataDir)).toEqual([])
  await expect
    .poll(() => readdirSync(dataDir), { timeout: MEMORY_SAVED_AFTER_MS + 2000 })
    .toEqual([NODE_MEMORY_FILE])
  expect(statSync(join(dataDir, NODE_MEMORY_FILE)).mode & 0o777).toBe(0o600)
  await memory.close()
  rmSync(join(dataDir, NODE_MEMORY_FILE))
  memory.changed()
  await new Promise((resolve) => setTimeout(resolve, MEMORY_SAVED_AFTER_MS + 200))
  expect(readdirSync(dataDir)).toEqual([])
}, 10_000)

test('a link in its place is refused, whatever it leads to', async () => {
  writeFileSync(join(dataDir, 'other'), '{}')
  symlinkSync(join(dataDir, 'other'), join(dataDir, NODE_MEMORY_FILE))
  const memory = memoryOf(await someRecord())
  expect(() => memory.load(Date.now())).toThrow(expect.objectContaining({ code: 'DATA_FOLDER' }))
})

test.each([
  ['no JSON', 'x'],
  ['another version', '{"version":2}'],
  [
    'too many entries',
    `{"version":1,"trust":null,"serving":null,"accepted":[${'["a",1],'.repeat(5000)}["a",1]],"memberships":[]}`,
  ],
])('%s is as if nothing had been saved', async (_, text) => {
  writeFileSync(join(dataDir, NODE_MEMORY_FILE), text)
  expect(memoryOf(await someRecord()).load(0)).toBe(undefined)
})

test('what a newer Shoal remembered is told in one line, and forgotten', async () => {
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => void lines.push(line) })
  const memory = new NodeMemory({ dataDir, log, record: () => ({}) as MemoryRecord })
  writeFileSync(join(dataDir, NODE_MEMORY_FILE), JSON.stringify({ version: 2, trust: 'of another kind' }))
  expect(memory.load(Date.now())).toBeUndefined()
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0]!)).toMatchObject({ msg: expect.stringMatching(/^a newer Shoal wrote/) })
})
