import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { STORE_FILE } from '../../tracker/store/open-store.ts'
import { dumpSqlite, fillSqlite } from '../../tracker/store/sqlite-dump.ts'
import { restoreLines } from '../../tracker/store/take-in.ts'
import { each, linesOf } from '../tracker/filled-store.ts'
import {
  callAdmin,
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

let cluster: TestCluster | undefined
afterEach(async () => {
  await cluster?.close()
  cluster = undefined
})
const MIB = 1024 * 1024
const nodeOf = ({ client }: TestNode) => (client.status().joined as { node: string }).node

test('real nodes teach a restored tracker what it forgot: also one that restarts meanwhile', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const words: boolean[] = []
  const onTrackerPause = (isPaused: boolean) => void words.push(isPaused)
  const one = await cluster.addNode({ client: { conditions, onTrackerPause } })
  const two = await cluster.addNode()
  const revoked = await cluster.addNode()
  const first = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(one, cluster.request(first))

  const dataDir = join(cluster.folder, 'tracker')
  const path = join(dataDir, STORE_FILE)
  const backup = await linesOf(dumpSqlite(path, { program: 'test', takenAtMs: Date.now() }))
  const target = nodeOf(revoked)
  await cluster.admin('/admin/v1/revocations', { cluster: cluster.id, node: target })
  const isGranted = (node: TestNode) => {
    const blob = cluster!.registry.add(randomBlob(MIB).bytes)
    return pull(node, cluster!.request(blob)).then(
      () => progressOf(node, blob) !== undefined,
      () => false,
    )
  }
  await expect.poll(() => isGranted(revoked), { timeout: 5_000 }).toBe(false)
  // Long enough for both others to hear of it, and to write it down.
  await new Promise((resolve) => setTimeout(resolve, 1_500))

  await cluster.stopTracker()
  await two.stop()
  for (const name of readdirSync(dataDir)) rmSync(join(dataDir, name), { recursive: true })
  await fillSqlite(path, (store) => restoreLines(each(backup), store, Date.now()))
  await cluster.restartTracker()
  const codes = () => conditions.list().map(({ code }) => code)
  await expect.poll(codes, { timeout: 10_000 }).toContain('TRACKER_RESTORED')
  expect(words.at(-1)).toBe(true)
  expect(await isGranted(revoked)).toBe(false)
  const again = await cluster.addNode({ name: two.name })

  await expect
    .poll(async () => (await learned(cluster!)).map((it) => [it.target, it.nodes]), { timeout: 10_000 })
    .toEqual([[target, 2]])
  const confirmed = await cluster.admin('/admin/v1/restore/confirmation', {})
  expect(confirmed).toEqual({ status: 200, body: { revocations: 1 } })
  await expect.poll(codes, { timeout: 5_000 }).not.toContain('TRACKER_RESTORED')
  expect(words.at(-1)).toBe(false)
  expect(await isGranted(revoked)).toBe(false)
  // Sharing goes on, also of what was there before.
  const second = cluster.registry.add(randomBlob(4 * MIB).bytes)
  expect((await pull(one, cluster.request(second))).equals(second.bytes)).toBe(true)
  await expect
    .poll(() => pull(again, cluster!.request(second)).then((bytes) => bytes.equals(second.bytes)), {
      timeout: 10_000,
    })
    .toBe(true)
  expect(progressOf(again, second)).toMatchObject({ bytesFromRegistry: 0 })
}, 60_000)

/** Targets of the revocations that the tracker learned, each with how many nodes brought it. */
async function learned({ folder }: TestCluster) {
  const { body } = await callAdmin(join(folder, 'tracker'), '/admin/v1/restore', undefined, 'GET')
  const { restore } = body as { restore: { clusters: { learned: { target: string; nodes: number }[] }[] } }
  return restore.clusters.flatMap((it) => it.learned)
}
