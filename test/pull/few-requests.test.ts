import { afterEach, expect, test } from 'vitest'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

/** GET requests for the blob that reached the registry. */
function getsOf(blob: TestBlob): number {
  return cluster.registry.requests.filter(({ line }) => line.startsWith('GET ') && line.includes(blob.digest))
    .length
}

test('a node alone takes a layer of 64 MiB in six requests, and a small one in one', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  for (const [bytes, gets] of [
    [64 * MIB, 6],
    [42_000_000, 6],
    [4 * MIB, 1],
  ] as const) {
    const blob = cluster.registry.add(randomBlob(bytes).bytes)
    expect((await pull(cluster.nodes[0]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(getsOf(blob)).toBeLessThanOrEqual(gets)
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(bytes)
  }
}, 60_000)

test('eight nodes that start together make at most four requests each, for one copy in all', async () => {
  cluster = await startTestCluster({ nodes: 8 })
  cluster.registry.chunkPauseMs = 2
  const blob = cluster.registry.add(randomBlob(64 * MIB).bytes)
  const all = await Promise.all(cluster.nodes.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  expect(getsOf(blob)).toBeLessThanOrEqual(8 * 4)
  expect(cluster.registry.sentBytes.get(blob.digest)! / blob.bytes.length).toBeLessThan(1.05)
  const fetched = cluster.nodes.map((node) => progressOf(node, blob).bytesFromRegistry)
  expect(Math.max(...fetched)).toBeLessThan(blob.bytes.length / 2)
}, 60_000)

test('a node that comes later gets half of what the first has not requested, and no request is aborted', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  cluster.registry.chunkPauseMs = 4
  const blob = cluster.registry.add(randomBlob(32 * MIB).bytes)
  const [one, other] = cluster.nodes
  const first = pull(one!, cluster.request(blob))
  await expect.poll(() => cluster.registry.sentBytes.get(blob.digest) ?? 0).toBeGreaterThan(MIB)
  for (const bytes of await Promise.all([first, pull(other!, cluster.request(blob))]))
    expect(bytes.equals(blob.bytes)).toBe(true)
  expect(progressOf(other!, blob).bytesFromRegistry).toBeGreaterThan(8 * MIB)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 60_000)
