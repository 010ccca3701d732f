import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { pull, randomBlob, startTestCluster, type TestCluster, type TestNode } from './test-cluster.ts'

/** What nodes know of each other's copies, and what they do with it. */

const MIB = 1024 * 1024
let cluster: TestCluster
afterEach(() => cluster?.close())

async function othersBecome(node: TestNode, digest: string, wanted: number): Promise<void> {
  const untilMs = performance.now() + 10_000
  const others = () => node.client.cache.list().find((blob) => blob.digest === digest)?.others
  while (others() !== wanted && performance.now() < untilMs) await wait(50)
  expect(others()).toBe(wanted)
}

test('a node knows how many others hold what it holds, and keeps the last copy longest', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { cacheBytesMax: 5 * MIB } })
  const other = await cluster.addNode()
  const [last, common, next] = [1, 2, 3].map(() => cluster.registry.add(randomBlob(2 * MIB).bytes))
  await pull(node, cluster.request(last!))
  await pull(node, cluster.request(common!))
  await pull(other, cluster.request(common!))
  await othersBecome(node, last!.digest, 0)
  await othersBecome(node, common!.digest, 1)
  // By its last use alone the first would go.
  await pull(node, cluster.request(next!))
  const held = () => node.client.cache.list().map(({ digest }) => digest)
  expect(held()).toEqual([last!.digest, next!.digest])
  await othersBecome(other, common!.digest, 0)
  await pull(node, cluster.request(common!))
  await othersBecome(node, common!.digest, 1)
  await other.client.cache.prune({ isAll: true })
  await othersBecome(node, common!.digest, 0)
}, 30_000)
