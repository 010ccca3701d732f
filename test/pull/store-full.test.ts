import { afterEach, expect, test } from 'vitest'
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
