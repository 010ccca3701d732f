import { afterEach, expect, test } from 'vitest'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('under configured keys another node gets the blob from peers while the registry is down', async () => {
  cluster = await startTestCluster({ nodes: 2, configuresKeys: true })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  const [first, second] = cluster.nodes
  await pull(first!, cluster.request(blob))
  cluster.registry.isDown = true
  expect((await pull(second!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(second!, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
}, 15_000)

test('under a probed key a new token is refused with a code while the registry is down: it has to accept it', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  cluster.registry.isDown = true
  await expect(pull(cluster.nodes[1]!, cluster.request(blob))).rejects.toMatchObject({
    code: 'TRACKER_REFUSED',
    trackerCode: 'REGISTRY_UNREACHABLE',
  })
}, 15_000)

test('a blob that nobody has is refused with a code while the registry is down, without a hang', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  cluster.registry.isDown = true
  const startedAtMs = Date.now()
  const code = expect.stringMatching(/^TRACKER_REFUSED$|^TRACKER_UNAVAILABLE$/)
  await expect(pull(cluster.nodes[0]!, cluster.request(blob))).rejects.toMatchObject({ code })
  expect(Date.now() - startedAtMs).toBeLessThan(6000)
}, 15_000)

test('a download whose registry goes down for good ends with a code', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  cluster.registry.chunkPauseMs = 20
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const reading = async () => {
    for await (const _ of open.read(0, open.bytes)) cluster.registry.cut()
  }
  const code = expect.stringMatching(/^BLOB_UNAVAILABLE$|^ORIGIN_REFUSED$/)
  await expect(reading()).rejects.toMatchObject({ code })
  open.close()
}, 60_000)

test('a download goes on when the registry was away for a moment', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  cluster.registry.chunkPauseMs = 10
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const chunks: Uint8Array[] = []
  for await (const chunk of open.read(0, open.bytes)) {
    if (chunks.push(Buffer.from(chunk)) !== 1) continue
    cluster.registry.cut()
    setTimeout(() => {
      cluster.registry.isDown = false
      cluster.registry.chunkPauseMs = 0
    }, 800)
  }
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
}, 20_000)
