import { afterEach, expect, test } from 'vitest'
import { pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('nodes that meet 429 wait as long as the registry says, and then finish with one copy', async () => {
  cluster = await startTestCluster({ nodes: 3 })
  const { registry } = cluster
  const blob = registry.add(randomBlob(12 * MIB).bytes)
  const door = registry.door
  const startedAtMs = Date.now()
  const waitMs = 5_000
  const gets: number[] = []
  registry.door = (request, response) => {
    if (request.method !== 'GET') return door(request, response)
    const atMs = Date.now() - startedAtMs
    gets.push(atMs)
    if (atMs >= waitMs) return door(request, response)
    response.writeHead(429, { 'retry-after': String(Math.ceil((waitMs - atMs) / 1000)) }).end()
  }
  const all = await Promise.all(cluster.nodes.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  // Each node asked once, or twice at the same moment, and not again until the time was over.
  expect(gets.filter((atMs) => atMs < waitMs).length).toBeLessThanOrEqual(6)
  // One process runs everything here: a node that it keeps waiting for a second counts as late, and another fetches its lease.
  expect(registry.sentBytes.get(blob.digest)! / blob.bytes.length).toBeLessThan(1.15)
}, 40_000)
