import { afterEach, expect, test, vi } from 'vitest'
import type { Credential } from '../../core/tracker-api.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())

const BLOB_BYTES = 3 * 1024 * 1024 + 5
const NONE: Credential = { scheme: 'none' }
const PASSWORD: Credential = { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') }

/** Each node brings its own credential; the second and later ones take the whole blob from peers. */
async function expectShared(credentials: Credential[], blob: TestBlob): Promise<void> {
  for (const [at, credential] of credentials.entries()) {
    const node = cluster.nodes[at]!
    expect((await pull(node, cluster.request(blob, { credential }))).equals(blob.bytes)).toBe(true)
    expect(progressOf(node, blob).bytesFromPeers).toBe(at === 0 ? 0 : BLOB_BYTES)
  }
}

const newBlob = () => cluster.registry.add(randomBlob(BLOB_BYTES).bytes)

test('what a registry serves to strangers is shared, with no credential or with needless ones', async () => {
  cluster = await startTestCluster({ nodes: 3, kind: 'open' })
  await expectShared([NONE, PASSWORD, { scheme: 'bearer', token: 'opaque' }], newBlob())
  const { client } = cluster.nodes[0]!
  await vi.waitFor(
    () => expect(client.registriesFound()).toMatchObject([{ kinds: ['open'], state: 'shared' }]),
    5000,
  )
}, 30_000)

test('nodes that name only the host share with a tracker that was told `none`', async () => {
  cluster = await startTestCluster({ nodes: 1, kind: 'none' })
  await cluster.addNode({ registry: { kind: undefined } })
  await cluster.addNode({ registry: { kind: undefined } })
  await expectShared([NONE, NONE, NONE], newBlob())
  const [, second] = cluster.nodes
  expect(second!.client.registriesFound()).toMatchObject([{ kinds: ['none'], state: 'shared' }])
}, 30_000)

test('at one registry, a signed token, a password and a token that names an unknown key share one blob', async () => {
  cluster = await startTestCluster({ nodes: 4 })
  const byKid = cluster.signer.sign(pullClaims(REPOSITORY), { kid: 'ABCD:EFGH' })
  const honest = cluster.registry.door
  cluster.registry.door = (request, response) => {
    const isRight = request.headers.authorization === `Basic ${(PASSWORD as { value: string }).value}`
    // The token server's own signature, shown as the registry wants it.
    if (isRight) request.headers.authorization = `Bearer ${byKid}`
    return honest(request, response)
  }
  const blob = newBlob()
  const signed = cluster.request(blob).credential
  await expectShared([signed, PASSWORD, { scheme: 'bearer', token: byKid }, signed], blob)
}, 30_000)

test('a repository that turns private is given only to those whom the registry lets in', async () => {
  cluster = await startTestCluster({ nodes: 3, kind: 'introspect' })
  const opaque = { scheme: 'bearer', token: 'opaque_1' } as const
  cluster.registry.accepted.add(`Bearer ${opaque.token}`)
  const blob = newBlob()
  await expectShared([opaque, opaque], blob)
  const stranger = pull(cluster.nodes[2]!, cluster.request(blob, { credential: NONE }))
  await expect(stranger).rejects.toMatchObject({ trackerCode: 'CREDENTIAL_REQUIRED' })
  cluster.registry.accepted.add('')
  await expectShared([opaque, opaque, NONE], blob)
}, 30_000)
