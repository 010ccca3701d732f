import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { TrackerClient } from '../../client/membership/tracker-client.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(async () => {
  vi.restoreAllMocks()
  await cluster?.close()
})
const MIB = 1024 * 1024

/** Answers each heartbeat with the instruction to drop all that nodes hold, once `isOn`. */
function withdrawAll(): { isOn: boolean } {
  const order = { isOn: false }
  const held = new Set<SwarmId>()
  const { heartbeat } = TrackerClient.prototype
  vi.spyOn(TrackerClient.prototype, 'heartbeat').mockImplementation(async function (
    this: TrackerClient,
    request,
  ) {
    for (const { swarm } of request.holds) held.add(swarm as SwarmId)
    const answer = await heartbeat.call(this, request)
    const drops = [...held].map((swarm) => ({ kind: 'drop' as const, swarm }))
    return { ...answer, instructions: [...answer.instructions, ...(order.isOn ? drops : [])] }
  })
  return order
}

test('a blob that the cluster withdraws leaves the cache, and peers get nothing of it', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [holder, other] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  withdrawAll().isOn = true
  await pull(holder!, cluster.request(blob))
  await expect.poll(() => holder!.client.progress(), { timeout: 5000 }).toEqual([])
  vi.restoreAllMocks()
  await pull(other!, cluster.request(blob))
  expect(progressOf(other!, blob)).toMatchObject({ bytesFromPeers: 0, bytesFromRegistry: blob.bytes.length })
}, 20_000)

test('a blob that is withdrawn while it is read is served to nobody, and leaves the cache after its reader', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [holder, other] = cluster.nodes
  const order = withdrawAll()
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(holder!, cluster.request(blob))
  const open = await holder!.client.open(cluster.request(blob))
  const chunks: Buffer[] = []
  for await (const chunk of open.read(0, open.bytes)) {
    chunks.push(Buffer.from(chunk))
    if (chunks.length > 1) continue
    order.isOn = true
    await delay(1_500)
    await pull(other!, cluster.request(blob))
    expect(progressOf(holder!, blob)).toMatchObject({ state: 'complete', bytesToPeers: 0 })
    cluster.registry.isDown = true
  }
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
  await expect.poll(() => holder!.client.progress(), { timeout: 5000 }).toEqual([])
}, 20_000)
