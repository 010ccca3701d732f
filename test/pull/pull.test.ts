import { afterEach, expect, test } from 'vitest'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())

const MIB = 1024 * 1024

for (const algorithm of ['ES256', 'RS256']) {
  test(`the first node fetches a blob from the registry once and two others get it from peers (${algorithm})`, async () => {
    cluster = await startTestCluster({ nodes: 3, algorithm })
    const blob = cluster.registry.add(randomBlob(9 * MIB + 17).bytes)
    const [first, second, third] = cluster.nodes
    expect((await pull(first!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(progressOf(first!, blob)).toMatchObject({
      bytesFromRegistry: blob.bytes.length,
      state: 'complete',
    })
    const both = await Promise.all([second!, third!].map((node) => pull(node, cluster.request(blob))))
    for (const bytes of both) expect(bytes.equals(blob.bytes)).toBe(true)
    for (const node of [second!, third!]) {
      expect(progressOf(node, blob)).toMatchObject({
        bytesFromRegistry: 0,
        bytesFromPeers: blob.bytes.length,
      })
    }
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
  }, 20_000)
}
