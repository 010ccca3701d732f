import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { ask } from '../../certs-tool/admin-client.ts'
import { PROBE_ROUNDS } from '../../tracker/pull/probe-key.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

/** Keys of registry tokens: the tracker asks the registry, nodes take its word. */
let cluster: TestCluster
afterEach(() => cluster?.close())

const MIB = 2 ** 20
/** Two of the cluster's, or the two retries of one that failed. */
const HEARTBEATS_MS = 4_000
/** Every pull with a token of its own, as daemons do. @returns the Authorization headers that were issued */
async function pullAll(blob: TestBlob): Promise<Set<string>> {
  const issued = new Set<string>()
  for (const node of cluster.nodes) {
    const request = cluster.request(blob)
    if (request.credential.scheme === 'bearer') issued.add(`Bearer ${request.credential.token}`)
    expect((await pull(node, request)).equals(blob.bytes)).toBe(true)
  }
  return issued
}

const bytesFromPeers = (blob: TestBlob) => cluster.nodes.map((node) => progressOf(node, blob).bytesFromPeers)

test('the first pull makes the key known, all share, and the registry is asked about it once', async () => {
  cluster = await startTestCluster({ nodes: 3 })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  const issued = await pullAll(blob)
  expect(bytesFromPeers(blob)).toEqual([0, blob.bytes.length, blob.bytes.length])
  const altered = cluster.registry.requests.filter(
    ({ authorization }) => authorization !== undefined && !issued.has(authorization),
  )
  expect(altered).toHaveLength(PROBE_ROUNDS)
})

test('a tracker that was restarted still vouches for it, so that nodes go on sharing', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  await cluster.restartTracker()
  const asked = cluster.registry.requests.length
  // The holder's next heartbeat says what it has; its answer carries the keys.
  await delay(HEARTBEATS_MS)
  expect((await pull(cluster.nodes[1]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(bytesFromPeers(blob)[1]).toBe(blob.bytes.length)
  // The token, and strangers: no probe.
  expect(cluster.registry.requests.length - asked).toBeLessThan(PROBE_ROUNDS)
}, 30_000)

test('under a configured key the registry is asked whether blobs are in the repository, and about no token', async () => {
  cluster = await startTestCluster({ nodes: 3, configuresKeys: true })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pullAll(blob)
  expect(bytesFromPeers(blob)).toEqual([0, blob.bytes.length, blob.bytes.length])
  const heads = cluster.registry.requests.filter(({ line }) => line.startsWith('HEAD'))
  expect(heads).toHaveLength(1)
})

test('a withdrawn key ends the sharing under it with the next heartbeat', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const { tokenKeys: trusted } = await ask({ dataDir: join(cluster.folder, 'tracker') }, 'tokenKeys.list', {})
  expect(trusted).toHaveLength(1)
  const withdrawn = await cluster.admin(`/admin/v1/token-keys/${trusted[0]!.id}/withdrawal`, {})
  expect(withdrawn.status).toBe(200)
  await expect(pull(cluster.nodes[1]!, cluster.request(blob))).rejects.toMatchObject({
    trackerCode: 'TOKEN_KEY_UNTRUSTED',
  })
})
