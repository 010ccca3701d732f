import { afterEach, expect, test } from 'vitest'
import { parseRepository } from '../../core/repository.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('three nodes that want a cold blob at the same moment take one copy of it from the registry', async () => {
  cluster = await startTestCluster({ nodes: 3 })
  const blob = cluster.registry.add(randomBlob(12 * MIB + 3).bytes)
  const all = await Promise.all(cluster.nodes.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
  const fetched = cluster.nodes.reduce((sum, node) => sum + progressOf(node, blob).bytesFromRegistry, 0)
  expect(fetched).toBe(blob.bytes.length)
}, 20_000)

test('two readers of one cold blob on one node share one download', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  const [node] = cluster.nodes
  const all = await Promise.all([1, 2, 3].map(() => pull(node!, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
})

test('readers of one cold blob through two repositories: each is asked with its own token', async () => {
  const broken: unknown[] = []
  const logTo = {
    write: (line: string) => void (line.includes('broke off') && broken.push(JSON.parse(line))),
  }
  cluster = await startTestCluster({ nodes: 1, logLevel: 'warn', logTo })
  const { signer, registry } = cluster
  const [node] = cluster.nodes
  const blob = registry.add(randomBlob(6_000_000).bytes)
  registry.chunkPauseMs = 20
  const first = pull(node!, cluster.request(blob))
  await expect.poll(() => registry.sentBytes.get(blob.digest) ?? 0).toBeGreaterThan(1_000_000)
  const token = signer.sign(pullClaims('team/other'), { jwk: signer.publicJwk })
  const repository = parseRepository('team/other')
  const other = cluster.request(blob, { repository, credential: { scheme: 'bearer', token } })
  for (const got of await Promise.all([first, pull(node!, other)])) expect(got.equals(blob.bytes)).toBe(true)
  expect(broken).toEqual([])
  expect(registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
})

test('a blob of one byte, one of exactly one piece and one a byte longer all arrive whole', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  for (const bytes of [1, 256 * 1024, 256 * 1024 + 1]) {
    const blob = cluster.registry.add(randomBlob(bytes).bytes)
    for (const node of cluster.nodes) {
      expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    }
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(bytes)
  }
}, 20_000)

test('a part of a blob is read without the parts before it', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const chunks: Uint8Array[] = []
  for await (const chunk of open.read(3 * MIB + 5, 3 * MIB + 1005)) chunks.push(Buffer.from(chunk))
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes.subarray(3 * MIB + 5, 3 * MIB + 1005))).toBe(true)
})
