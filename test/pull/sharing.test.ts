import { afterEach, expect, test } from 'vitest'
import { connectionsTo } from './connections.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** How nodes share the work: what is sent twice, and over how many connections. */
let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

async function expectAllRight(nodes: TestNode[], blob: TestBlob): Promise<void> {
  const all = await Promise.all(nodes.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
}

const sentBy = (nodes: TestNode[], blob: TestBlob) =>
  nodes.reduce((sum, node) => sum + (progressOf(node, blob)?.bytesToPeers ?? 0), 0)

test('a holder with four downloaders sends at most two copies; they give each other the rest', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  // The holder's link is the narrow one, as it is in a cluster where many want what one has.
  const holder = await cluster.addNode({ client: { uploadBytesPerSecondMax: 8 * MIB } })
  const blob = cluster.registry.add(randomBlob(24 * MIB).bytes)
  await pull(holder, cluster.request(blob))
  const downloaders: TestNode[] = []
  for (let count = 0; count < 4; count++) downloaders.push(await cluster.addNode())
  await expectAllRight(downloaders, blob)
  expect(progressOf(holder, blob).bytesToPeers).toBeLessThanOrEqual(2 * blob.bytes.length)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 40_000)

test('in the end game what is asked for twice is cancelled: less than a tenth is sent in vain', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const slow = await cluster.addNode({ client: { uploadBytesPerSecondMax: 2 * MIB } })
  const blob = cluster.registry.add(randomBlob(32 * MIB).bytes)
  for (const node of cluster.nodes) await pull(node, cluster.request(blob))
  const before = sentBy(cluster.nodes, blob)
  const holders = [...cluster.nodes]
  const downloader = await cluster.addNode()
  await expectAllRight([downloader], blob)
  expect(progressOf(downloader, blob).bytesFromPeers).toBe(blob.bytes.length)
  expect(progressOf(slow, blob).bytesToPeers).toBeGreaterThan(0)
  expect(sentBy(holders, blob) - before).toBeLessThan(1.1 * blob.bytes.length)
}, 30_000)

test('two nodes that dial each other at the same moment keep a link in each direction, for all blobs', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const ports = cluster.nodes.map(({ client }) => client.peerAddress.port)
  const open = () => ports.flatMap((port) => connectionsTo(port)).length
  for (let round = 1; round <= 3; round++) {
    const blob = cluster.registry.add(randomBlob(16 * MIB).bytes)
    cluster.registry.chunkPauseMs = 5
    const pulling = expectAllRight(cluster.nodes, blob)
    await pulling
    expect(open()).toBeGreaterThan(0)
    expect(open()).toBeLessThanOrEqual(2)
    for (const node of cluster.nodes) expect(progressOf(node, blob).bytesFromPeers).toBeGreaterThan(0)
  }
}, 60_000)
