import { afterEach, expect, test } from 'vitest'
import { enrol } from '../attacks/attacker.ts'
import { askPull } from '../attacks/liar.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('with the tracker gone a new pull is refused within its patience, so that it can go to the registry', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await cluster.stopTracker()
  const startedAtMs = Date.now()
  await expect(cluster.nodes[0]!.client.open(cluster.request(blob))).rejects.toMatchObject({
    code: 'TRACKER_UNAVAILABLE',
  })
  expect(Date.now() - startedAtMs).toBeLessThan(5500)
}, 15_000)

test('with the tracker gone, what the node holds whole is still read from its store', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  await cluster.stopTracker()
  expect((await pull(cluster.nodes[0]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 15_000)

test('a download from the registry that has begun goes on when the tracker goes', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(6 * MIB).bytes)
  cluster.registry.chunkPauseMs = 10
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const chunks: Uint8Array[] = []
  for await (const chunk of open.read(0, open.bytes)) {
    if (chunks.push(Buffer.from(chunk)) === 1) {
      await cluster.stopTracker()
      cluster.registry.chunkPauseMs = 0
    }
  }
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
}, 20_000)

test('two nodes in the middle of a cold blob both finish when the tracker goes', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(6 * MIB).bytes)
  cluster.registry.chunkPauseMs = 10
  const both = cluster.nodes.map((node) => pull(node, cluster.request(blob)))
  const fromPeers = () =>
    Math.max(...cluster.nodes.map((node) => progressOf(node, blob)?.bytesFromPeers ?? 0))
  await expect.poll(fromPeers, { timeout: 5000, interval: 5 }).toBeGreaterThan(0)
  await cluster.stopTracker()
  cluster.registry.chunkPauseMs = 0
  for (const bytes of await Promise.all(both)) expect(bytes.equals(blob.bytes)).toBe(true)
}, 20_000)

test('a node that the tracker told to wait for others does not go on waiting when the tracker goes', async () => {
  cluster = await startTestCluster({ nodes: 1, leaseSeconds: 60 })
  const blob = cluster.registry.add(randomBlob(1000).bytes)
  const other = await enrol(cluster)
  const { swarms } = await askPull(other, cluster, blob)
  expect(swarms[0]!.lease).toMatchObject({ firstPiece: 0, pieces: 1 })
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  // It asks within a quarter of a second, and then again when the tracker said.
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  await cluster.stopTracker()
  const chunks: Uint8Array[] = []
  for await (const chunk of open.read(0, open.bytes)) chunks.push(Buffer.from(chunk))
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
  await other.tracker.close()
}, 20_000)

test('a tracker that comes back knows what the nodes hold', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  await cluster.restartTracker()
  // The holder says so with its next heartbeat.
  await new Promise((resolve) => setTimeout(resolve, 3500))
  expect((await pull(cluster.nodes[1]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(cluster.nodes[1]!, blob).bytesFromPeers).toBe(blob.bytes.length)
}, 20_000)
