import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from '../tracker/test-database.ts'
import { pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

const MIB = 1024 * 1024

describe.skipIf(mustSkipPostgres())('two trackers that share a database', () => {
  let database: TestDatabase
  let cluster: TestCluster
  /** URLs of both trackers, the first one in front or behind. */
  let urls: [string, string]
  beforeAll(async () => {
    database = await startTestDatabase()
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    await database.empty()
    cluster = await startTestCluster({ nodes: 0, tracker: database.config })
    const second = await cluster.addTracker()
    urls = [cluster.tracker, second].map(({ address }) => `https://localhost:${address.port}`) as [
      string,
      string,
    ]
  })
  afterEach(() => cluster?.close())

  const addNode = (first: 0 | 1) =>
    cluster.addNode({ client: { trackerUrl: [urls[first], urls[1 - first]].join(',') } })
  const copies = ({ digest, bytes }: { digest: string; bytes: Buffer }) =>
    (cluster.registry.sentBytes.get(digest as never) ?? 0) / bytes.length

  test('a blob that a node of one tracker holds is shared with a node of the other', async () => {
    const [one, two] = [await addNode(0), await addNode(1)]
    const blob = cluster.registry.add(randomBlob(6 * MIB).bytes)
    await pull(one, cluster.request(blob))
    expect(copies(blob)).toBe(1)
    // The other tracker hears of it within two looks.
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect((await pull(two, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(copies(blob)).toBe(1)
  }, 30_000)

  test('a cold blob that nodes of both want at once leaves the registry once', async () => {
    const nodes = [await addNode(0), await addNode(1), await addNode(0), await addNode(1)]
    const blob = cluster.registry.add(randomBlob(24 * MIB).bytes)
    const pulled = await Promise.all(nodes.map((node) => pull(node, cluster.request(blob))))
    for (const bytes of pulled) expect(bytes.equals(blob.bytes)).toBe(true)
    expect(copies(blob)).toBeLessThan(1.05)
  }, 60_000)

  test('when one ends, its nodes go on with the other within a heartbeat, and no pull fails', async () => {
    const [one, two] = [await addNode(0), await addNode(1)]
    const first = cluster.registry.add(randomBlob(6 * MIB).bytes)
    await pull(one, cluster.request(first))
    await cluster.stopTracker()
    const beganMs = performance.now()
    const second = cluster.registry.add(randomBlob(6 * MIB).bytes)
    expect((await pull(one, cluster.request(second))).equals(second.bytes)).toBe(true)
    expect(performance.now() - beganMs).toBeLessThan(3_000)
    await expect.poll(() => one.client.status().tracker.url, { timeout: 5_000 }).toBe(urls[1])
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect((await pull(two, cluster.request(first))).equals(first.bytes)).toBe(true)
    expect(copies(first)).toBe(1)
  }, 30_000)

  test('a database that is killed and comes back ends no download, and grants pulls again', async () => {
    const nodes = [await addNode(0), await addNode(1)]
    const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
    cluster.registry.chunkPauseMs = 20
    const pulls = nodes.map((node) => pull(node, cluster.request(blob)))
    await expect.poll(() => copies(blob), { interval: 5, timeout: 10_000 }).toBeGreaterThan(0.02)
    const { server } = database
    server.process.kill('SIGKILL')
    await server.process.ended
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await server.run()
    for (const bytes of await Promise.all(pulls)) expect(bytes.equals(blob.bytes)).toBe(true)
    cluster.registry.chunkPauseMs = 0
    const next = cluster.registry.add(randomBlob(MIB).bytes)
    const isGranted = () =>
      pull(nodes[0]!, cluster.request(next)).then(
        () => true,
        () => false,
      )
    await expect.poll(isGranted, { timeout: 10_000 }).toBe(true)
  }, 60_000)

  test('what an operator does at one is obeyed by nodes of the other', async () => {
    const words: boolean[] = []
    const trackerUrl = [urls[1], urls[0]].join(',')
    const two = await cluster.addNode({
      client: { trackerUrl, onTrackerPause: (isPaused) => words.push(isPaused) },
    })
    await cluster.admin(`/admin/v1/clusters/${cluster.id}/pause`, {}, 'PUT')
    await expect.poll(() => words.at(-1), { timeout: 3_000 }).toBe(true)
    const made = await cluster.newCluster()
    // It hears of the cluster at once, but not within the same millisecond.
    await new Promise((resolve) => setTimeout(resolve, 500))
    const joined = await cluster.addNode({ joinToken: made.joinToken, client: { trackerUrl } })
    expect(joined.client.status().joined).toMatchObject({ cluster: made.cluster })
    const { node } = two.client.status().joined as { node: string }
    const revoked = await cluster.admin('/admin/v1/revocations', { cluster: cluster.id, node })
    expect(revoked.status).toBe(201)
    const isServed = () =>
      pull(two, cluster.request(cluster.registry.add(randomBlob(MIB).bytes))).then(
        () => true,
        () => false,
      )
    await expect.poll(isServed, { timeout: 5_000 }).toBe(false)
  }, 30_000)
})
