import { afterEach, expect, test, vi } from 'vitest'
import { Admission } from '../../client/membership/admission.ts'
import { WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
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

let cluster: TestCluster
afterEach(async () => {
  vi.restoreAllMocks()
  await cluster?.close()
})
const LAYERS = 60
const LAYER_BYTES = 400_000

/** As a runtime pulls an image: the manifest first, then its layers, some at a time. */
async function pullImage(node: TestNode, blobs: TestBlob[]): Promise<void> {
  const { registry, repository, credential } = cluster.request(blobs[0]!)
  const named = blobs.map(({ digest, bytes }) => ({ digest, bytes: bytes.length }))
  node.client.plan({ registry, repository, credential, blobs: named })
  const left = [...blobs]
  const pullNext = async () => {
    for (let blob = left.shift(); blob; blob = left.shift()) {
      const got = await pull(node, cluster.request(blob, { credential }))
      expect(got.equals(blob.bytes)).toBe(true)
    }
  }
  await Promise.all(Array.from({ length: 6 }, pullNext))
}

const connectionsOf = (nodes: TestNode[]) =>
  nodes.map(({ client }) => connectionsTo(client.peerAddress.port).length)

test(`an image of ${LAYERS} layers from three holders costs one link and one proof for each`, async () => {
  cluster = await startTestCluster({ nodes: 3 })
  const blobs = Array.from({ length: LAYERS }, () => cluster.registry.add(randomBlob(LAYER_BYTES).bytes))
  const holders = [...cluster.nodes]
  for (const holder of holders) await pullImage(holder, blobs)
  // A heartbeat later the tracker lists what they hold.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const before = connectionsOf(holders)
  const sent = [...cluster.registry.sentBytes.values()].reduce((sum, bytes) => sum + bytes, 0)
  const downloader = await cluster.addNode()
  const proofs = vi.spyOn(Admission.prototype, 'checkProof')
  await pullImage(downloader, blobs)
  expect([...cluster.registry.sentBytes.values()].reduce((sum, bytes) => sum + bytes, 0)).toBe(sent)
  const links = connectionsOf(holders).map((count, at) => count - before[at]!)
  expect(Math.max(...links)).toBeLessThanOrEqual(1)
  expect(connectionsOf([downloader])).toEqual([0])
  expect(links.filter((count) => count === 1).length).toBeGreaterThan(1)
  // One pull: a proof for each link.
  expect(proofs.mock.calls.length).toBe(links.reduce((sum, count) => sum + count, 0))
}, 60_000)

test('three nodes that fetch an image of many layers together keep at most two connections for each pair', async () => {
  cluster = await startTestCluster({ nodes: 3 })
  const blobs = Array.from({ length: 20 }, () => cluster.registry.add(randomBlob(LAYER_BYTES).bytes))
  await Promise.all(cluster.nodes.map((node) => pullImage(node, blobs)))
  const pairs = 3
  expect(connectionsOf(cluster.nodes).reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(2 * pairs)
}, 60_000)

test('nodes of this version and of the one before share a cold blob, and a warm one in both directions', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  for (let count = 0; count < 2; count++) await cluster.addNode({ client: { wire: WIRE_VERSION_FIRST } })
  const [newer, , older] = cluster.nodes as [TestNode, TestNode, TestNode]
  const blob = cluster.registry.add(randomBlob(6_000_000).bytes)
  for (const got of await Promise.all(cluster.nodes.map((node) => pull(node, cluster.request(blob)))))
    expect(got.equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBeLessThan(1.3 * blob.bytes.length)
  for (const [holder, wire] of [
    [newer, WIRE_VERSION_FIRST],
    [older, WIRE_VERSION_LINKS],
  ] as const) {
    const warm = cluster.registry.add(randomBlob(1_000_000).bytes)
    await pull(holder, cluster.request(warm))
    const downloader = await cluster.addNode({ client: { wire } })
    expect((await pull(downloader, cluster.request(warm))).equals(warm.bytes)).toBe(true)
    expect(progressOf(downloader, warm).bytesFromPeers).toBe(warm.bytes.length)
  }
}, 60_000)

test('a small blob beside a large one on the same link does not wait for it', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [holder] = cluster.nodes as [TestNode]
  const large = cluster.registry.add(randomBlob(192 * 1024 * 1024).bytes)
  const small = Array.from({ length: 6 }, () => cluster.registry.add(randomBlob(1024 * 1024).bytes))
  for (const blob of [large, ...small]) await pull(holder, cluster.request(blob))
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const downloader = await cluster.addNode({ client: { downloadBytesPerSecondMax: 0 } })
  const timed = async (blob: TestBlob) => {
    const startedAtMs = performance.now()
    await pull(downloader, cluster.request(blob))
    return performance.now() - startedAtMs
  }
  // The link and its pull are there before anything is timed.
  await timed(small[0]!)
  const alone = [await timed(small[1]!), await timed(small[2]!)]
  const pulling = pull(downloader, cluster.request(large))
  await expect.poll(() => progressOf(downloader, large)?.bytesFromPeers ?? 0).toBeGreaterThan(0)
  const beside = [await timed(small[3]!), await timed(small[4]!)]
  expect(progressOf(downloader, large).state).toBe('downloading')
  await pulling
  // Two processors, one process, and the tracker's call in it: the bound of a measured run is in docs/performance.md.
  expect(Math.min(...beside)).toBeLessThan(4 * Math.max(...alone) + 250)
  expect(connectionsOf([holder])).toEqual([1])
}, 60_000)
