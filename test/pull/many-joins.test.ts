import { afterEach, expect, test } from 'vitest'
import { pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())

test('a node that joins when too many others do starts all the same, and is in its cluster soon', async () => {
  cluster = await startTestCluster({ nodes: 1, tracker: { joinsBurstMax: 1, joinsPerHourMax: 1200 } })
  const blob = cluster.registry.add(randomBlob(300_000).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const late = await cluster.addNode()
  await expect(pull(late, cluster.request(blob))).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  const isIn = () =>
    pull(late, cluster.request(blob)).then(
      (bytes) => bytes.equals(blob.bytes),
      () => false,
    )
  await expect.poll(isIn, { timeout: 20_000, interval: 500 }).toBe(true)
}, 40_000)
