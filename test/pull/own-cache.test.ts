import { afterEach, expect, test } from 'vitest'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('a reader learns where its bytes came from, and reads from the own cache are counted', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  const read = async (at: number) => {
    const open = await cluster.nodes[at]!.client.open(cluster.request(blob))
    for await (const chunk of open.read(0, open.bytes)) expect(chunk.length).toBeGreaterThan(0)
    open.close()
    return open.sources
  }
  const all = blob.bytes.length
  expect(await read(0)).toEqual({ registry: all, peers: 0, cache: 0 })
  expect(await read(0)).toEqual({ registry: 0, peers: 0, cache: all })
  const second = await read(1)
  expect(second.peers + second.registry).toBe(all)
  expect(second.peers).toBe(progressOf(cluster.nodes[1]!, blob).bytesFromPeers)
  expect(progressOf(cluster.nodes[0]!, blob)).toMatchObject({ bytesFromCache: all, bytesFromRegistry: all })
  const { held, moved, peers } = cluster.nodes[0]!.client.status()
  expect(held).toMatchObject({ blobs: 1, bytes: all, evictions: 0 })
  expect(moved).toMatchObject({ bytesFromCache: all, bytesFromRegistry: all, bytesToPeers: second.peers })
  expect(peers).toMatchObject({ refused: 0, unreachable: 0 })
}, 20_000)

test('after a restart the node shows what it holds; a download that was left is partial', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const whole = cluster.registry.add(randomBlob(MIB).bytes)
  const left = cluster.registry.add(randomBlob(6 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(whole))
  cluster.registry.chunkPauseMs = 10
  const open = await cluster.nodes[0]!.client.open(cluster.request(left))
  for await (const chunk of open.read(0, open.bytes)) {
    expect(progressOf(cluster.nodes[0]!, left).state).toBe('downloading')
    if (chunk.length > 0) break
  }
  open.close()
  await expect.poll(() => progressOf(cluster.nodes[0]!, left).state).toBe('partial')
  const { name } = cluster.nodes[0]!
  await cluster.nodes[0]!.stop()
  await cluster.addNode({ name })
  expect(progressOf(cluster.nodes[0]!, whole)).toMatchObject({ state: 'complete', bytesFromRegistry: 0 })
  expect(progressOf(cluster.nodes[0]!, left).state).toBe('partial')
  expect(cluster.nodes[0]!.client.status().held.bytes).toBeGreaterThanOrEqual(whole.bytes.length)
}, 20_000)
