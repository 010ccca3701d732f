import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import type { ShownCache } from '../../cli/cache/answers.ts'
import { cacheText } from '../../cli/cache/ls.ts'
import { bytesOf, msOf } from '../../cli/cache/prune.ts'
import { lookOf } from '../../cli/table.ts'
import type { Outside } from '../../core/command.ts'
import { askLocally } from '../../lab/local-api.ts'
import { randomBlob, startTestCluster, type TestCluster } from '../pull/test-cluster.ts'
import { type LiveNode, startLiveNode } from './live-node.ts'

const MIB = 1024 * 1024

describe('shoal cache on a running node', () => {
  let cluster: TestCluster
  let node: LiveNode | undefined
  afterEach(async () => {
    node?.program.child.kill('SIGKILL')
    await cluster?.close()
  })

  const listed = () => askLocally<ShownCache>(join(node!.dataDir, 'shoal.sock'), '/v1/cache')

  test('lists, pins, prunes and verifies; pins outlive a kill', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    node = await startLiveNode(cluster, 'node')
    const [kept, gone, shared] = [2, 1, 1].map((size) => cluster.registry.add(randomBlob(size * MIB).bytes))
    const digest = await node.pullImage('v1', [shared!, kept!])
    await node.pullImage('v2', [shared!, gone!])
    const list = await node.shoal('cache', 'ls', '--blobs')
    expect(list.code).toBe(0)
    expect(list.stdout).toMatch(/team\/app:v1 +2\/2 +3 MiB/)
    expect(Math.max(...list.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)

    const nameOf = (tag: string) => `${cluster.registry.host}/team/app:${tag}`
    const short = kept!.digest.slice(7, 19)
    expect(list.stdout).toContain(short)
    expect((await node.shoal('cache', 'pin', short)).stdout).toBe(`Pinned ${kept!.digest}: 1 blob, 2 MiB.\n`)
    expect((await node.shoal('cache', 'unpin', short)).stdout).toBe(`Unpinned ${kept!.digest}.\n`)
    const pinned = await node.shoal('cache', 'pin', nameOf('v1'))
    expect(pinned.stdout).toMatch(/^Pinned .*team\/app:v1@sha256:[0-9a-f]{64}: 2 blobs, 3 MiB\.\n$/)
    expect(await node.shoal('cache', 'pin', nameOf('v9'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`has seen no image and holds no blob called ${nameOf('v9')}`),
    })
    node.program.child.kill('SIGKILL')
    await once(node.program.child, 'exit')
    node = await startLiveNode(cluster, 'node')
    // What was written last is hashed first.
    const untilMs = performance.now() + 10_000
    while ((await listed()).heldBytes < 4 * MIB && performance.now() < untilMs) await wait(20)
    expect(await listed()).toMatchObject({
      heldBytes: 4 * MIB,
      pinnedBytes: 3 * MIB,
      images: [{ heldBlobs: 2 }, { heldBlobs: 2 }],
      pins: [{ name: expect.stringContaining(digest) }],
    })

    const dry = await node.shoal('cache', 'prune', '--all', '--dry-run', '--json')
    expect(JSON.parse(dry.stdout)).toMatchObject({
      isDryRun: true,
      blobs: [{ digest: gone!.digest }],
      heldBytes: 4 * MIB,
    })
    expect((await node.shoal('cache', 'prune', '--all')).stdout).toBe(
      'Removed 1 blob, 1 MiB. Held now: 3 MiB.\n',
    )
    expect((await node.shoal('cache', 'prune')).code).toBe(2)

    expect(await node.shoal('cache', 'verify')).toMatchObject({
      code: 0,
      stdout: 'No damage: 2 blobs, 3 MiB.\n',
    })
    flipByte(node.dataDir, 2 * MIB)
    const verified = await node.shoal('cache', 'verify')
    expect(verified.code).toBe(3)
    expect(verified.stdout).toContain(kept!.digest.slice(7, 19))
    expect((await node.pull(kept!)).equals(kept!.bytes)).toBe(true)
    expect((await listed()).blobs).toMatchObject([{ isWhole: true }, { isWhole: true }])

    node.configure({ cacheBytesMax: 3.5 * MIB })
    expect((await node.shoal('reload')).stdout).toBe('Changed: cacheBytesMax.\n')
    await node.pull(gone!).catch(() => undefined)
    expect(await node.shoal('cache', 'pin', nameOf('v2'))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no room to pin .*\nhint: Raise cacheBytesMax/),
    })
    expect((await node.shoal('cache', 'unpin', nameOf('v1'))).stdout).toContain('Unpinned')
    await node.shoal('cache', 'prune', '--all')
    expect(await listed()).toMatchObject({ blobs: [], heldBytes: 0, pins: [] })
  }, 60_000)
})

/** In the data file of that size. */
function flipByte(dataDir: string, bytes: number): void {
  const blobs = join(dataDir, 'blobs')
  const paths = readdirSync(blobs).map((name) => join(blobs, name, 'data'))
  const fd = openSync(paths.find((path) => statSync(path).size === bytes)!, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, 12_345)
  writeSync(fd, Buffer.from([byte[0]! ^ 0x80]), 0, 1, 12_345)
  closeSync(fd)
}

describe('the list', () => {
  const blob = (at: number) => ({
    registry: 'registry.example.com',
    repository: `a-rather-long-organisation/and-a-team/and-an-application-${at}`,
    digest: `sha256:${String(at).repeat(64)}`,
    bytes: 100 * MIB,
    heldBytes: 50 * MIB,
    isWhole: false,
    isInUse: true,
    isPinned: true,
    used: '2026-01-01T00:00:00.000Z',
    ...(at === 0 ? {} : { others: at === 1 ? 8 : 0 }),
  })
  const cache = {
    ...{ cacheBytesMax: 1024 * MIB, diskReserveBytes: 0, heldBytes: 150 * MIB, pinnedBytes: 0, evictions: 0 },
    images: [],
    blobs: [0, 1, 2].map(blob),
    pins: [{ name: 'registry.example.com/gone:v1', blobs: [] }],
  }

  test.each([60, 80, 100, 200])('stays within %i columns, 100 at most', (columns) => {
    const look = lookOf({ output: { columns } as Outside['output'], env: {} })
    const text = cacheText(cache, { look, withBlobs: true, nowMs: Date.parse('2026-01-01T02:00:00Z') })
    const widest = Math.max(...text.split('\n').map((line) => line.length))
    expect(widest).toBeLessThanOrEqual(Math.max(80, Math.min(100, columns)))
    expect(text).toMatch(/\? {2}2 h ago/)
    expect(text).toMatch(/8\+ {2}2 h ago/)
    expect(text).toContain('Pinned besides:\n  registry.example.com/gone:v1')
  })
})

describe('amounts on the command line', () => {
  test.each([
    ['90min', 5_400_000],
    ['1.5h', 5_400_000],
    ['30d', 2_592_000_000],
  ])('%s', (text, ms) => expect(msOf(text)).toBe(ms))

  test.each([
    ['500MiB', 500 * MIB],
    ['0', 0],
    ['1.5GiB', 1536 * MIB],
  ])('%s', (text, bytes) => expect(bytesOf(text)).toBe(bytes))

  test.each(['', '5', '-1d', '5 weeks', '1e9d', 'constructor', '3constructor'])(
    'refuses %j as a time',
    (text) => {
      expect(() => msOf(text)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    },
  )
})
