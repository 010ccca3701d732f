import { afterEach, expect, test } from 'vitest'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('after a restart of the tracker a pull comes from the seed that it knew before, at once', async () => {
  cluster = await startTestCluster({
    nodes: 2,
    heartbeatSeconds: 60,
    logLevel: process.env.SHOAL_TEST_LOG ?? 'silent',
  })
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  const [seed, other] = cluster.nodes
  await pull(seed!, cluster.request(blob))
  await cluster.restartTracker()
  expect((await pull(other!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(other!, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
}, 30_000)

test('a seed asks the tracker about a key that it does not know, before it refuses', async () => {
  cluster = await startTestCluster({ nodes: 2, heartbeatSeconds: 60 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  const [seed, other] = cluster.nodes
  await pull(seed!, cluster.request(blob))
  // Trust is for an exact set of audiences: under this one the key is new, and the seed has heard nothing of it.
  const claims = { ...pullClaims(REPOSITORY), aud: ['registry', 'mirror'] }
  const token = cluster.signer.sign(claims, { jwk: cluster.signer.publicJwk })
  const request = cluster.request(blob, { credential: { scheme: 'bearer', token } })
  expect((await pull(other!, request)).equals(blob.bytes)).toBe(true)
  expect(progressOf(other!, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
}, 30_000)
