import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { OWNER_ROLE } from '../../lab/database/postgres-server.ts'
import { STORE_FILE } from '../../tracker/store/open-store.ts'
import { dumpPostgres, fillPostgres } from '../../tracker/store/postgres/postgres-dump.ts'
import { dumpSqlite } from '../../tracker/store/sqlite-dump.ts'
import { importLines, restoreLines } from '../../tracker/store/take-in.ts'
import { each, linesOf } from '../tracker/filled-store.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from '../tracker/test-database.ts'
import {
  callAdmin,
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

const MIB = 1024 * 1024
const nodeOf = ({ client }: TestNode) => (client.status().joined as { node: string }).node

describe.skipIf(mustSkipPostgres())('the state of a tracker', () => {
  let database: TestDatabase
  let cluster: TestCluster
  beforeAll(async () => {
    database = await startTestDatabase()
  })
  afterAll(() => database?.close())
  beforeEach(() => database.empty())
  afterEach(() => cluster?.close())

  const asOwner = async <T>(work: (owner: Awaited<ReturnType<TestDatabase['connect']>>) => Promise<T>) => {
    const owner = await database.connect(OWNER_ROLE)
    try {
      return await work(owner)
    } finally {
      await owner.close()
    }
  }
  const isGranted = (node: TestNode) =>
    pull(node, cluster.request(cluster.registry.add(randomBlob(MIB).bytes))).then(
      () => true,
      () => false,
    )

  test('moves from its file to PostgreSQL while pulls run, and nothing of it is lost', async () => {
    cluster = await startTestCluster({ nodes: 3 })
    const [one, two, revoked] = cluster.nodes as [TestNode, TestNode, TestNode]
    await cluster.admin('/admin/v1/revocations', { cluster: cluster.id, node: nodeOf(revoked) })
    const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
    cluster.registry.chunkPauseMs = 20
    const pulls = [one, two].map((node) => pull(node, cluster.request(blob)))
    const sent = () => cluster.registry.sentBytes.get(blob.digest) ?? 0
    await expect.poll(sent, { interval: 5, timeout: 10_000 }).toBeGreaterThan(0.05 * blob.bytes.length)

    await cluster.stopTracker()
    const lines = await linesOf(dumpSqlite(join(cluster.folder, 'tracker', STORE_FILE)))
    const { rows } = await asOwner((owner) => fillPostgres(owner, (store) => importLines(each(lines), store)))
    expect(rows).toBe(lines.length - 2)
    // A new pull hears at once that nobody grants it, and goes to the registry itself.
    const meanwhile = cluster.registry.add(randomBlob(MIB).bytes)
    const beganMs = performance.now()
    await expect(pull(one, cluster.request(meanwhile))).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
    expect(performance.now() - beganMs).toBeLessThan(3_000)
    await cluster.restartTracker(database.config)

    for (const bytes of await Promise.all(pulls)) expect(bytes.equals(blob.bytes)).toBe(true)
    cluster.registry.chunkPauseMs = 0
    await expect.poll(() => isGranted(one), { timeout: 10_000 }).toBe(true)
    expect(await isGranted(revoked)).toBe(false)
    const next = cluster.registry.add(randomBlob(4 * MIB).bytes)
    await pull(one, cluster.request(next))
    await expect
      .poll(() => pull(two, cluster.request(next)).then((bytes) => bytes.equals(next.bytes)))
      .toBe(true)
    expect(progressOf(two, next).bytesFromPeers).toBe(next.bytes.length)
  }, 60_000)

  test('is restored in PostgreSQL, and what one of two trackers is told to confirm holds for both', async () => {
    cluster = await startTestCluster({ nodes: 0, tracker: database.config })
    const [one, revoked] = [await cluster.addNode(), await cluster.addNode()]
    const lines: string[] = []
    // As the trackers' role, while the tracker runs.
    const reading = await database.connect()
    const head = { program: 'test', takenAtMs: Date.now() }
    await dumpPostgres(reading, async (written) => void lines.push(...(await linesOf(written))), head)
    await reading.close()
    const target = nodeOf(revoked)
    await cluster.admin('/admin/v1/revocations', { cluster: cluster.id, node: target })
    // Long enough for the other node to hear of it, and to write it down.
    await new Promise((resolve) => setTimeout(resolve, 2_000))

    await cluster.stopTracker()
    await database.empty()
    const { takenAtMs } = await asOwner((owner) =>
      fillPostgres(owner, (store) => restoreLines(each(lines), store, Date.now())),
    )
    expect(takenAtMs).toBe(head.takenAtMs)
    await cluster.restartTracker()
    const second = await cluster.addTracker()
    const seen = async (folder: string) => {
      const { body } = await callAdmin(join(cluster.folder, folder), '/admin/v1/restore', undefined, 'GET')
      const { restore } = body as {
        restore: { isGranting: boolean; clusters: { learned: { target: string }[] }[] }
      }
      return [restore.isGranting, ...restore.clusters.flatMap((it) => it.learned.map((one) => one.target))]
    }
    await expect.poll(() => seen('tracker'), { timeout: 10_000 }).toEqual([false, target])
    expect(await seen('tracker2')).toEqual([false, target])
    expect(await callAdmin(join(cluster.folder, 'tracker2'), '/admin/v1/restore/confirmation', {})).toEqual({
      ...{ status: 200, body: { revocations: 1 } },
    })
    await expect.poll(() => isGranted(one), { timeout: 10_000 }).toBe(true)
    expect(await isGranted(revoked)).toBe(false)
    expect(second.clusterIds()).toEqual([cluster.id])
  }, 60_000)
})
