import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { DISK_LOOK_MS } from '../../client/store/room.ts'
import { Conditions } from '../../core/conditions.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('a blob that does not fit the cache is refused at once, so that it goes straight to the registry', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { cacheBytesMax: MIB } })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await expect(node.client.open(cluster.request(blob))).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(cluster.registry.sentBytes.get(blob.digest)).toBeUndefined()
})

test('blobs that nobody uses make room for new ones, the least recently used first', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { cacheBytesMax: 5 * MIB } })
  const [first, second, third] = [1, 2, 3].map(() => cluster.registry.add(randomBlob(2 * MIB).bytes))
  await pull(node, cluster.request(first!))
  await new Promise((resolve) => setTimeout(resolve, 5))
  await pull(node, cluster.request(second!))
  await new Promise((resolve) => setTimeout(resolve, 5))
  await pull(node, cluster.request(first!))
  await pull(node, cluster.request(third!))
  await pull(node, cluster.request(first!))
  expect(cluster.registry.sentBytes.get(first!.digest)).toBe(2 * MIB)
  expect(progressOf(node, second!)).toBeUndefined()
})

test('blobs whose peers are still connected make room too: nodes that share image after image keep sharing', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const client = { cacheBytesMax: 5 * MIB }
  const nodes = [await cluster.addNode({ client }), await cluster.addNode({ client })]
  for (let image = 0; image < 4; image += 1) {
    const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
    for (const node of nodes) expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(progressOf(nodes[1]!, blob)).toMatchObject({ bytesFromPeers: 2 * MIB, bytesFromRegistry: 0 })
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(2 * MIB)
  }
})

test('blobs that are asked for at the same moment never outgrow the cache together', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { cacheBytesMax: 3 * MIB } })
  const blobs = [1, 2, 3].map(() => cluster.registry.add(randomBlob(2 * MIB).bytes))
  const opened = await Promise.allSettled(blobs.map((blob) => node.client.open(cluster.request(blob))))
  expect(opened.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const open of opened) if (open.status === 'fulfilled') open.value.close()
})

test('while others fill the disk, idle blobs go and pulls go on without the cache; both end with it', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const node = await cluster.addNode({ client: { conditions } })
  const codes = () => conditions.list().map(({ code }) => code)
  const [kept, idle, next] = [1, 2, 3].map(() => cluster.registry.add(randomBlob(2 * MIB).bytes))
  for (const blob of [kept!, idle!]) await pull(node, cluster.request(blob))
  const { cache } = node.client
  cache.pin({ name: 'kept', blobs: [{ digest: kept!.digest, bytes: 2 * MIB }] })
  const { limits } = cache
  // As if the disk were that much fuller.
  cache.resize({ ...limits, diskReserveBytes: 2 ** 60 })
  await until(() => cache.list().length === 1 && codes().includes('DISK_LOW'))
  expect(cache.list()).toMatchObject([{ digest: kept!.digest, isPinned: true }])
  await expect(node.client.open(cluster.request(next!))).rejects.toMatchObject({ code: 'STORE_FULL' })
  cache.resize(limits)
  await until(() => codes().length === 0)
  expect((await pull(node, cluster.request(next!))).equals(next!.bytes)).toBe(true)
  expect(cache.list()).toHaveLength(2)
}, 30_000)

test('pins beyond the room of the cache are refused, and shown when the cache becomes smaller', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const node = await cluster.addNode({ client: { conditions, cacheBytesMax: 5 * MIB } })
  const { cache } = node.client
  const pinOf = (digit: string) => ({
    name: digit,
    blobs: [{ digest: `sha256:${digit.repeat(64)}` as never, bytes: 3 * MIB }],
  })
  cache.pin(pinOf('1'))
  expect(() => cache.pin(pinOf('2'))).toThrow(expect.objectContaining({ code: 'CACHE_PINS' }))
  cache.resize({ cacheBytesMax: 2 * MIB, diskReserveBytes: 0 })
  expect(conditions.list().map(({ code }) => code)).toEqual(['CACHE_PINS_EXCEED'])
  cache.unpin('1')
  expect(conditions.list()).toEqual([])
  expect(() => cache.unpin('1')).toThrow(expect.objectContaining({ code: 'CACHE_UNKNOWN' }))
})

/** Within two looks at the disk. */
async function until(isSo: () => boolean): Promise<void> {
  const untilMs = performance.now() + 2 * DISK_LOOK_MS
  while (!isSo() && performance.now() < untilMs) await new Promise((resolve) => setTimeout(resolve, 20))
  expect(isSo()).toBe(true)
}
