import { afterEach, expect, test } from 'vitest'
import { type Behaviour, type HostileUploader, startHostileUploader } from './hostile-uploader.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

/** Members with real certificates, listed as seeds, that keep downloaders waiting instead of serving them. */
let cluster: TestCluster
const uploaders: HostileUploader[] = []
afterEach(async () => {
  for (const uploader of uploaders.splice(0)) await uploader.close()
  await cluster?.close()
})
const MIB = 1024 * 1024
const BLOB_BYTES = 16 * MIB + 5
/** Three seconds of patience with the swarm, the longest wait that a sole uploader can cause, and room for a slow machine. */
const ALONE_MS_MAX = 8_000
/** A stalled piece goes elsewhere after a quarter of a second; before any piece has been timed, after two seconds. */
const BESIDE_SEED_MS_MAX = 6_000

const STORIES: [Behaviour, string][] = [
  ['trickle', 'sends one byte a second'],
  ['silent', 'accepts requests and never answers'],
  ['reject', 'answers every request with a reject'],
  ['mute', 'finishes TLS and never says a word'],
  ['no-tls', 'never begins TLS'],
]

/** A node that has the blob and goes away, so that the tracker knows the hashes and only the hostile one is listed. */
async function publishedBlob(): Promise<TestBlob> {
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const publisher = await cluster.addNode({ name: 'publisher' })
  await pull(publisher, cluster.request(blob))
  return blob
}

async function start(blob: TestBlob, behaviour: Behaviour): Promise<HostileUploader> {
  const uploader = await startHostileUploader(cluster, blob, behaviour)
  uploaders.push(uploader)
  return uploader
}

for (const [behaviour, what] of STORIES) {
  test(`an uploader that ${what}, alone: the bytes come from the registry soon`, async () => {
    cluster = await startTestCluster({ nodes: 1 })
    const [victim] = cluster.nodes
    const blob = await publishedBlob()
    await cluster.nodes[1]!.stop()
    const uploader = await start(blob, behaviour)
    const startedAtMs = Date.now()
    expect((await pull(victim!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(Date.now() - startedAtMs).toBeLessThan(ALONE_MS_MAX)
    expect(progressOf(victim!, blob)).toMatchObject({ bytesFromPeers: 0, state: 'complete' })
    if (behaviour !== 'no-tls') expect(uploader.connections).toBeGreaterThan(0)
    if (behaviour !== 'no-tls' && behaviour !== 'mute') expect(uploader.requests).toBeGreaterThan(0)
  }, 20_000)

  test(`an uploader that ${what}, beside an honest seed: every byte comes from the seed`, async () => {
    cluster = await startTestCluster({ nodes: 1 })
    const [victim] = cluster.nodes
    const blob = await publishedBlob()
    const uploader = await start(blob, behaviour)
    const startedAtMs = Date.now()
    expect((await pull(victim!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(Date.now() - startedAtMs).toBeLessThan(BESIDE_SEED_MS_MAX)
    expect(progressOf(victim!, blob).bytesFromPeers).toBe(blob.bytes.length)
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
    if (behaviour !== 'no-tls') await expect.poll(() => uploader.connections).toBeGreaterThan(0)
  }, 20_000)
}

test('a peer that hung up before it had said a word is dialled again', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [victim] = cluster.nodes
  const blob = await publishedBlob()
  await cluster.nodes[1]!.stop()
  const uploader = await start(blob, 'hang-up')
  cluster.registry.chunkPauseMs = 50
  const open = await victim!.client.open(cluster.request(blob))
  await expect.poll(() => uploader.connections, { timeout: 8000 }).toBeGreaterThanOrEqual(3)
  open.close()
}, 20_000)
