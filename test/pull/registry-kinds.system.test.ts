import { afterEach, expect, test } from 'vitest'
import type { Credential } from '../../core/tracker-api.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { type DockerRegistry, startDockerRegistry } from './docker-registry.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

const it = test.skipIf(mustSkipFor(['docker-registry']))

/** Every kind of registry that signs no tokens: who may have a layer gets it from peers, who may not gets nothing. */

let cluster: TestCluster | undefined
let docker: DockerRegistry | undefined
afterEach(async () => {
  await cluster?.close()
  await docker?.close()
  cluster = docker = undefined
})

const BLOB_BYTES = 5 * 1024 * 1024 + 17
const basic = (user: string, password: string) => ({
  scheme: 'basic' as const,
  value: Buffer.from(`${user}:${password}`).toString('base64'),
})
const ALICE = basic('alice', 'right horse')
/** `htpasswd -nbB -C 5 alice 'right horse'` */
const ALICE_LINE = 'alice:$2y$05$ECqVai6Un5Zw63kNs6hCoOpqdI2BG/rs7vcmv1i53k/gqN6sSrNuq'

/** The first node has the blob from the registry, the second from the first, and the attacker nothing. */
async function expectSharing(blob: TestBlob, right: Credential, attacks: [Credential, string][]) {
  const [first, second, attacker] = cluster!.nodes
  const request = cluster!.request(blob, { credential: right })
  expect((await pull(first!, request)).equals(blob.bytes)).toBe(true)
  expect((await pull(second!, request)).equals(blob.bytes)).toBe(true)
  expect(progressOf(second!, blob)).toMatchObject({ bytesFromRegistry: 0, bytesFromPeers: BLOB_BYTES })
  const served = () => [first!, second!].map((node) => progressOf(node, blob).bytesToPeers)
  const servedBefore = served()
  for (const [credential, trackerCode] of attacks) {
    await expect(pull(attacker!, { ...request, credential })).rejects.toMatchObject({ trackerCode })
  }
  expect(progressOf(attacker!, blob)?.bytesFromPeers ?? 0).toBe(0)
  expect(served()).toEqual(servedBefore)
}

it('a layer of a registry with passwords moves between nodes that have the right one', async () => {
  const user = { line: ALICE_LINE, authorization: `Basic ${ALICE.value}` }
  docker = await startDockerRegistry({ kind: 'introspect', user })
  const blob = randomBlob(BLOB_BYTES)
  await docker.push(blob)
  cluster = await startTestCluster({ nodes: 3, registryConfig: docker.config })
  await expectSharing(blob, ALICE, [
    [basic('alice', 'wrong horse'), 'REGISTRY_REFUSED'],
    [basic('mallory', 'right horse'), 'REGISTRY_REFUSED'],
    [{ scheme: 'none' }, 'CREDENTIAL_REQUIRED'],
  ])
}, 60_000)

it('a layer of a registry with opaque tokens moves between nodes that have a right one', async () => {
  cluster = await startTestCluster({ nodes: 3, kind: 'introspect' })
  const token = 'opaque_9f8e7d6c5b4a'
  cluster.registry.accepted.add(`Bearer ${token}`)
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await expectSharing(blob, { scheme: 'bearer', token }, [
    [{ scheme: 'bearer', token: 'opaque_000000000000' }, 'REGISTRY_REFUSED'],
    [basic('alice', 'wrong horse'), 'REGISTRY_REFUSED'],
    [{ scheme: 'none' }, 'CREDENTIAL_REQUIRED'],
  ])
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(BLOB_BYTES)
}, 60_000)

it('a layer of a registry without authentication moves freely, also for who sends a needless password', async () => {
  docker = await startDockerRegistry({ kind: 'none' })
  const blob = randomBlob(BLOB_BYTES)
  await docker.push(blob)
  cluster = await startTestCluster({ nodes: 3, registryConfig: docker.config })
  await expectSharing(blob, { scheme: 'none' }, [])
  const [, , third] = cluster.nodes
  const request = cluster.request(blob, { credential: basic('alice', 'any horse') })
  expect((await pull(third!, request)).equals(blob.bytes)).toBe(true)
  expect(progressOf(third!, blob)?.bytesFromPeers).toBe(BLOB_BYTES)
}, 60_000)

it('a registry of which nobody said that it is open shares what it serves to strangers', async () => {
  docker = await startDockerRegistry({ kind: 'introspect' })
  const blob = randomBlob(BLOB_BYTES)
  await docker.push(blob)
  cluster = await startTestCluster({ nodes: 3, registryConfig: { ...docker.config, kind: undefined } })
  await expectSharing(blob, basic('alice', 'anything'), [])
}, 60_000)
