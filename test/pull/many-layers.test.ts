import { afterEach, expect, test, vi } from 'vitest'
import { TrackerClient } from '../../client/membership/tracker-client.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(async () => {
  vi.restoreAllMocks()
  await cluster?.close()
})

const LAYERS = 60
const LAYER_BYTES = 400_000

const CALLS = ['pull', 'renew', 'hashes', 'batches', 'mismatch', 'join'] as const

/** Calls to the tracker from now on, of the node that asks for a pull. */
function countCalls() {
  const spyOn = (call: (typeof CALLS)[number] | 'complete') => vi.spyOn(TrackerClient.prototype, call)
  const spies = [...CALLS, 'complete' as const].map((call) => [call, spyOn(call)] as const)
  const pulls = spies[0]![1].mock
  return () => {
    const own = (contexts: unknown[]) => contexts.filter((client) => client === pulls.contexts[0]).length
    return Object.fromEntries(spies.map(([call, spy]) => [call, own(spy.mock.contexts)]))
  }
}

test('60 small layers that a manifest named take one grant, and otherwise at most two calls a layer when it is here', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [holder, other] = cluster.nodes
  const blobs = Array.from({ length: LAYERS }, () => cluster.registry.add(randomBlob(LAYER_BYTES).bytes))
  const { registry, repository, credential } = cluster.request(blobs[0]!)
  const plan = { registry, repository, credential }
  const planned = blobs.map(({ digest, bytes }) => ({ digest, bytes: bytes.length }))
  holder!.client.plan({ ...plan, blobs: planned })
  await Promise.all(blobs.map((blob) => pull(holder!, cluster.request(blob))))
  const calls = countCalls()
  other!.client.plan({ ...plan, blobs: planned })
  const all = await Promise.all(blobs.map((blob) => pull(other!, cluster.request(blob))))
  for (const [at, bytes] of all.entries()) expect(bytes.equals(blobs[at]!.bytes)).toBe(true)
  const fromPeers = blobs.filter((blob) => progressOf(other!, blob).bytesFromPeers === LAYER_BYTES)
  expect(fromPeers).toHaveLength(LAYERS)
  const { complete, hashes, ...others } = calls()
  expect(others).toEqual({ pull: 1, renew: 0, batches: 0, mismatch: 0, join: 0 })
  // Only of layers whose peers give nothing for 1.5 s, as on a machine that does other work.
  expect(hashes).toBeLessThanOrEqual(LAYERS / 4)
  // One that the layer is here; one more where the tracker wants its SHA-1 hashes, for stock clients.
  expect(complete).toBeLessThanOrEqual(2 * LAYERS)
}, 60_000)
