import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lackOf } from '../../client/store/room.ts'
import { byteSize } from '../../core/byte-size.ts'
import { CONDITIONS } from '../../core/condition-texts.ts'
import { Conditions } from '../../core/conditions.ts'
import { loadConfig } from '../../core/config.ts'
import { explainDisk } from '../../core/disk-space.ts'
import { createLog } from '../../core/log.ts'
import { askLocally } from '../../lab/local-api.ts'
import { nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { runShoal } from '../cli/run-shoal.ts'
import { randomBlob, startTestCluster, type TestCluster } from '../pull/test-cluster.ts'

/** What misled operators, made to happen again: the words name what to change. */

const MIB = 1024 ** 2
const GIB = 1024 ** 3

let folder: string
let node: RunningNode | undefined
let cluster: TestCluster | undefined
let logged: Record<string, unknown>[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-messages-'))
  logged = []
})
afterEach(async () => {
  await node?.close()
  await cluster?.close()
  node = cluster = undefined
  rmSync(folder, { recursive: true })
})

const log = () =>
  createLog({ level: 'debug', name: 'test', destination: { write: (line) => logged.push(JSON.parse(line)) } })

function nodeSettings(changes: Record<string, unknown>) {
  return nodeConfig.parse({
    ...{ trackerUrl: 'https://127.0.0.1:1', dataDir: folder, dockerCertsDir: 'none' },
    ...{ proxyListen: '127.0.0.1:0', adminListen: '127.0.0.1:0', peerListen: '127.0.0.1:0' },
    ...changes,
  })
}

async function status(): Promise<{ conditions: { code: string; remedy: string }[]; node: object }> {
  return askLocally(node!.localSocket, '/v1/status')
}

describe('a node that shares nothing says so', () => {
  test('without registries it names the setting, in log and status', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    const client = await cluster.addNode()
    node = await startNode(nodeSettings({}), log(), async () => client.client)
    expect(logged).toContainEqual(
      expect.objectContaining({ level: 'error', remedy: expect.stringContaining('--registries') }),
    )
    expect((await status()).conditions).toMatchObject([
      { code: 'NO_REGISTRIES', remedy: expect.stringContaining('--registries') },
    ])
  })

  test('while it has not joined, with what the tracker’s address answers and the settings to check', async () => {
    const joinToken = `SHOAL-1-c0123456789abcdef-${'A'.repeat(43)}`
    const { startClient } = await import('../../client/index.ts')
    node = await startNode(nodeSettings({ registries: 'registry.example' }), log(), (options) =>
      startClient({ ...options, joinToken }),
    )
    const [condition] = (await status()).conditions
    expect(condition).toMatchObject({
      code: 'NOT_JOINED',
      facts: { reason: expect.stringContaining('ECONNREFUSED') },
      remedy: expect.stringMatching(/--tracker-url.*--join-token-file/),
    })
    expect((await status()).node).toMatchObject({
      joined: false,
      reason: expect.stringContaining('ECONNREFUSED'),
    })
    expect(logged.map(({ msg }) => msg)).not.toContain('the node is ready')
    expect(logged.filter(({ err }) => (err as { stack?: string })?.stack !== undefined)).toEqual([])
  })
})

describe('a blob for which there is no room', () => {
  test.each([
    [
      'is larger than the cache',
      { bytes: 30 * GIB },
      'no room for a blob of 30 GiB: cacheBytesMax is 20 GiB',
    ],
    [
      'finds the cache full of blobs in use',
      { bytes: GIB, usedBytes: 19.5 * GIB },
      'no room for a blob of 1 GiB: blobs in use or pinned hold 19.5 GiB of the 20 GiB of cacheBytesMax',
    ],
    [
      'finds the disk full',
      { bytes: MIB / 2, freeBytes: 40 * MIB },
      'no room for a blob of 512 KiB: the disk of dataDir has 40 MiB free, and 256 MiB stay in reserve',
    ],
  ])('and that %s', (_case, changes, message) => {
    const room = { bytes: 1, usedBytes: 0, bytesMax: 20 * GIB, reserveBytes: 256 * MIB, freeBytes: 100 * GIB }
    expect(lackOf(room)).toBeUndefined()
    expect(lackOf({ ...room, ...changes })).toMatchObject({ code: 'STORE_FULL', message })
  })

  test('raises a condition that names the setting, until one of that size fits', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    const conditions = new Conditions({ log: log() })
    const { client } = await cluster.addNode({ client: { cacheBytesMax: 3 * MIB, conditions } })
    const [large, small, medium] = [4, 1, 2].map((size) =>
      cluster!.registry.add(randomBlob(size * MIB).bytes),
    )
    const codes = () => conditions.list().map(({ code }) => code)
    await expect(client.open(cluster.request(large!))).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(codes()).toEqual(['CACHE_FULL'])
    expect(conditions.list()[0]!.facts.reason).toContain('cacheBytesMax is 3 MiB')
    expect(CONDITIONS.CACHE_FULL.remedy).toContain('--cache-bytes-max')
    const held = await client.open(cluster.request(small!))
    expect(codes()).toEqual(['CACHE_FULL'])
    const busy = await client.open(cluster.request(medium!))
    const other = cluster.registry.add(randomBlob(MIB).bytes)
    await expect(client.open(cluster.request(other))).rejects.toMatchObject({ code: 'STORE_FULL' })
    busy.close()
    ;(await client.open(cluster.request(other))).close()
    expect(codes()).toEqual([])
    held.close()
  })
})

describe('a full disk at the start', () => {
  test.each([
    [{ code: 'ENOSPC', syscall: 'write' }, 'the disk is full'],
    [{ code: 'EDQUOT', syscall: 'write' }, 'quota'],
    [{ code: 'EROFS', syscall: 'open' }, 'read-only'],
    [{ code: 'ERR_SQLITE_ERROR', errcode: 13 }, 'the disk is full'],
  ])('with %j names the folder, what is free and what is needed', (facts, words) => {
    const dataDir = join(folder, 'not', 'made', 'yet')
    const explained = explainDisk(Object.assign(new Error('x'), facts), dataDir) as {
      message: string
      hint: string
    }
    expect(explained).toMatchObject({ code: 'DISK' })
    expect(explained.message).toContain(dataDir)
    expect(explained.message).toContain(words)
    expect(explained.hint).toMatch(/^[\d.]+ (bytes|[KMGT]iB) are free there\. .*256 MiB.*--data-dir\.$/)
  })

  test('is no explanation for other errors', () => {
    for (const error of [
      new Error('x'),
      new TypeError('y'),
      Object.assign(new Error('z'), { code: 'EACCES' }),
    ])
      expect(explainDisk(error, folder)).toBe(error)
  })
})

describe('a value that a setting does not take', () => {
  test.each([
    ['--cache-bytes-max=-1', 'cacheBytesMax (from --cache-bytes-max): must be at least 0, got -1'],
    ['--p2p-min-bytes=0', 'p2pMinBytes (from --p2p-min-bytes): must be at least 1, got 0'],
    ['--p2p-min-bytes=1.5', 'p2pMinBytes (from --p2p-min-bytes): must be a whole number, got 1.5'],
    ['--p2p-min-bytes=20GiB', 'p2pMinBytes (from --p2p-min-bytes): must be a number, got "20GiB"'],
    [
      '--tracker-patience-ms=700000',
      'trackerPatienceMs (from --tracker-patience-ms): must be at most 600000, got 700000',
    ],
    [
      '--permit-link-local=maybe',
      'permitLinkLocal (from --permit-link-local): must be true or false, got "maybe"',
    ],
    ['--log-level=loud', /logLevel \(from --log-level\): must be one of fatal, error, .*, got "loud"/],
  ])('%s is refused in plain words', (flag, words) => {
    const argv = ['--tracker-url', 'https://tracker.example', flag]
    const load = () => loadConfig({ program: 'node', schema: nodeConfig, argv, env: {} })
    expect(load).toThrow(words)
  })
})

test.each([
  [0, '0 bytes'],
  [300, '300 bytes'],
  [MIB / 2, '512 KiB'],
  [1.5 * MIB, '1.5 MiB'],
  [20 * GIB, '20 GiB'],
  [1023 * MIB, '1023 MiB'],
])('%d bytes read %s', (bytes, text) => {
  expect(byteSize(bytes)).toBe(text)
})

describe('the command line', () => {
  test('shows large defaults in units, and as they are written', async () => {
    const { stdout } = await runShoal(['node', '--help'])
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain('Default: 262144 (256 KiB)')
  })

  test.each([[[]], [['certs']], [['admin', 'key']]])('says that %j lacks a command', async (argv) => {
    const { code, stderr, stdout } = await runShoal(argv)
    expect(stderr).toMatch(/^shoal: missing command after shoal/)
    expect(stderr).toContain('Usage: ')
    expect([code, stdout]).toEqual([2, ''])
  })
})
