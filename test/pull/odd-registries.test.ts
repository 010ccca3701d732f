import { afterEach, expect, test } from 'vitest'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

test('of a registry that ignores Range one node reads a cold blob from the start, and the others take it from that node', async () => {
  cluster = await startTestCluster({ nodes: 3 })
  cluster.registry.ignoresRange = true
  cluster.registry.chunkPauseMs = 5
  const blob = cluster.registry.add(randomBlob(12 * MIB + 3).bytes)
  const all = await Promise.all(cluster.nodes.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  const fetched = cluster.nodes.map((node) => progressOf(node, blob).bytesFromRegistry)
  expect(fetched.reduce((sum, bytes) => sum + bytes, 0)).toBe(blob.bytes.length)
  expect(cluster.registry.sentBytes.get(blob.digest)! / blob.bytes.length).toBeLessThan(1.25)
}, 30_000)

test('a blob that takes longer than its tokens last arrives whole: answers opened in time are read on', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  cluster.registry.chunkPauseMs = 120
  const blob = cluster.registry.add(randomBlob(18 * MIB).bytes)
  const startedAtSeconds = Date.now() / 1000
  const tokenSeconds = 12
  const shortToken = () => {
    const claims = pullClaims(REPOSITORY, {
      iat: startedAtSeconds,
      nbf: startedAtSeconds - 1,
      exp: startedAtSeconds + tokenSeconds,
    })
    return cluster.signer.sign(claims, { jwk: { ...cluster.signer.publicJwk } as Record<string, unknown> })
  }
  const request = () => cluster.request(blob, { credential: { scheme: 'bearer', token: shortToken() } })
  const all = await Promise.all(cluster.nodes.map((node) => pull(node, request())))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  expect(Date.now() / 1000 - startedAtSeconds).toBeGreaterThan(tokenSeconds)
}, 60_000)
