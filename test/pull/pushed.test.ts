import { readdirSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import type { RunningProxy } from '../../proxy/proxy.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough } from '../proxy/test-proxy.ts'
import { startNodeProxy } from './node-proxy.ts'
import { digestOf, type PushDoor, pushDoor } from './push-door.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** What is pushed through a node's proxy is there for the registry's readers, from that node, and for nobody else. */
const MIB = 1024 * 1024
const OTHER = 'team/other'

let cluster: TestCluster
let registries: RegistryClients
let proxy: RunningProxy
let pusher: TestNode
let reader: TestNode
let push: PushDoor
const lines: { msg: string; digest: string }[] = []
let via: { port: number; host: string; caPem: string }

afterEach(async () => {
  await proxy?.close()
  for (const registry of registries?.values() ?? []) await registry.close()
  await cluster?.close()
})

async function start(client: Parameters<TestCluster['addNode']>[0] = {}) {
  lines.length = 0
  const logTo = { write: (line: string) => lines.push(JSON.parse(line)) } as never
  cluster = await startTestCluster({ nodes: 0, logLevel: 'info', logTo })
  push = pushDoor(cluster.registry)
  cluster.registry.door = push.door
  registries = openRegistries([cluster.registry.config])
  pusher = await cluster.addNode({ ...client, client: { registries, ...client?.client } })
  reader = await cluster.addNode()
  const started = await startNodeProxy(pusher.client, registries)
  proxy = started.proxy
  via = { port: proxy.address.port, host: cluster.registry.host, caPem: started.caPem }
}

/** As Docker's, for pushes; the registry of this test looks at `pull` alone. */
const token = (repository = REPOSITORY as string) =>
  cluster.signer.sign(
    pullClaims(repository, {
      access: [{ type: 'repository', name: repository, actions: ['pull', 'push'] }],
    }),
    { jwk: cluster.signer.publicJwk },
  )

interface Ask {
  method: string
  path: string
  headers?: Record<string, string>
  body?: Buffer | string
  repository?: string
}
const ask = ({ headers = {}, repository, ...rest }: Ask) =>
  askThrough(via, { ...rest, headers: { authorization: `Bearer ${token(repository)}`, ...headers } })

async function begin(repository = REPOSITORY as string): Promise<string> {
  const { status, headers } = await ask({
    method: 'POST',
    path: `/v2/${repository}/blobs/uploads/`,
    repository,
  })
  expect(status).toBe(202)
  return String(headers.location)
}

/** As Go's clients write it: the query anew, in the order of the alphabet. */
function closing(location: string, digest: string): string {
  const url = new URL(location, 'https://registry')
  url.searchParams.set('digest', digest)
  url.searchParams.sort()
  return url.pathname + url.search
}

async function chunk(location: string, body: Buffer, headers: Record<string, string> = {}): Promise<string> {
  const answer = await ask({ method: 'PATCH', path: location, body, headers })
  expect(answer.status).toBe(202)
  return String(answer.headers.location)
}

/** POST, one PATCH, PUT: as Docker pushes a layer. */
async function pushBlob(
  blob: TestBlob,
  { status = 201, repository = REPOSITORY as string } = {},
): Promise<void> {
  const location = await chunk(await begin(repository), blob.bytes)
  expect((await ask({ method: 'PUT', path: closing(location, blob.digest) })).status).toBe(status)
}

function manifestOf(blobs: TestBlob[]): string {
  const entries = blobs.map(({ digest, bytes }) => ({
    mediaType: 'application/octet-stream',
    digest,
    size: bytes.length,
  }))
  return JSON.stringify({ schemaVersion: 2, config: entries[0], layers: entries })
}

async function release(
  blobs: TestBlob[],
  { status = 201, repository = REPOSITORY as string } = {},
): Promise<void> {
  const path = `/v2/${repository}/manifests/v1`
  const answer = await ask({ method: 'PUT', path, body: manifestOf(blobs), repository })
  expect(answer.status).toBe(status)
}

const heldBy = (node: TestNode, blob: TestBlob) => progressOf(node, blob)?.state
const isLogged = ({ digest }: TestBlob) =>
  lines.some((line) => line.msg === 'pushed blob shared' && line.digest === digest)
const isShared = (blob: TestBlob) => expect.poll(() => isLogged(blob), { timeout: 5000 }).toBe(true)
const sentOf = (blob: TestBlob) => cluster.registry.sentBytes.get(blob.digest) ?? 0

async function expectFirstPullFree(blob: TestBlob): Promise<void> {
  await isShared(blob)
  expect((await pull(reader, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(reader, blob)).toMatchObject({ bytesFromRegistry: 0, bytesFromPeers: blob.bytes.length })
  expect(sentOf(blob)).toBe(0)
}

/** Long enough for a node that would share it. */
async function expectNothingShared(blob: TestBlob): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(heldBy(pusher, blob)).toBeUndefined()
}

test('the first pull of a pushed layer costs the registry nothing', async () => {
  await start()
  const [layer, other] = [randomBlob(9 * MIB + 17), randomBlob(300_000)]
  await pushBlob(layer)
  await pushBlob(other)
  expect(heldBy(pusher, layer)).toBeUndefined()
  await release([layer, other])
  await expectFirstPullFree(layer)
  await expectFirstPullFree(other)
}, 30_000)

test('a layer that was pushed in chunks, and in one request, is shared too', async () => {
  await start()
  const [chunked, single] = [randomBlob(3 * MIB + 5), randomBlob(2 * MIB)]
  let location = await begin()
  for (const [from, to] of [
    [0, MIB],
    [MIB, 2 * MIB + 11],
    [2 * MIB + 11, chunked.bytes.length],
  ] as const)
    location = await chunk(location, chunked.bytes.subarray(from, to), {
      'content-range': `${from}-${to - 1}`,
    })
  expect((await ask({ method: 'PUT', path: closing(location, chunked.digest) })).status).toBe(201)
  const put = { method: 'PUT', path: closing(await begin(), single.digest), body: single.bytes }
  expect((await ask(put)).status).toBe(201)
  await release([chunked, single])
  await expectFirstPullFree(chunked)
  await expectFirstPullFree(single)
}, 30_000)

test('an upload that broke off is resumed where the registry is', async () => {
  await start({ client: { cacheSecret: Buffer.alloc(32, 7) } })
  const blob = randomBlob(4 * MIB)
  const location = await begin()
  push.breakAfterBytes = 2 * MIB + 12_345
  await ask({ method: 'PATCH', path: location, body: blob.bytes }).catch(() => undefined)
  const standing = await ask({ method: 'GET', path: location })
  const from = Number(/^0-(\d+)$/.exec(String(standing.headers.range))![1]) + 1
  expect(from).toBe(2 * MIB + 12_345)
  const range = { 'content-range': `${from}-${blob.bytes.length - 1}` }
  const next = await chunk(String(standing.headers.location), blob.bytes.subarray(from), range)
  expect((await ask({ method: 'PUT', path: closing(next, blob.digest) })).status).toBe(201)
  await release([blob])
  await expectFirstPullFree(blob)
}, 30_000)

test('a token that ended in the middle of a push costs nothing: the next one goes on', async () => {
  await start()
  const blob = randomBlob(2 * MIB)
  const location = await begin()
  push.refuse = { method: 'PATCH', status: 401, times: 1 }
  expect((await ask({ method: 'PATCH', path: location, body: blob.bytes })).status).toBe(401)
  const next = await chunk(location, blob.bytes)
  push.refuse = { method: 'PUT', status: 401, times: 1 }
  expect((await ask({ method: 'PUT', path: closing(next, blob.digest) })).status).toBe(401)
  expect((await ask({ method: 'PUT', path: closing(next, blob.digest) })).status).toBe(201)
  await release([blob])
  await expectFirstPullFree(blob)
}, 30_000)

test('a blob that the registry mounted into another repository is shared with the manifest there', async () => {
  await start()
  const blob = randomBlob(2 * MIB)
  await pushBlob(blob)
  const path = `/v2/${OTHER}/blobs/uploads/?mount=${encodeURIComponent(blob.digest)}&from=${REPOSITORY}`
  expect((await ask({ method: 'POST', path, repository: OTHER })).status).toBe(201)
  await release([blob], { repository: OTHER })
  await isShared(blob)
  expect(sentOf(blob)).toBe(0)
}, 30_000)

test('nothing is shared of a push that the registry refuses, or whose manifest it refuses', async () => {
  await start()
  const [wrong, denied, unnamed] = [randomBlob(MIB), randomBlob(MIB), randomBlob(MIB)]
  await pushBlob({ ...wrong, digest: digestOf(Buffer.from('another')) }, { status: 400 })
  push.refuse = { method: 'PUT', status: 403, times: 1 }
  await pushBlob(denied, { status: 403 })
  await pushBlob(unnamed)
  push.refuse = { method: 'PUT', status: 401, times: 1 }
  await release([wrong, denied, unnamed], { status: 401 })
  await release([wrong, denied])
  for (const blob of [wrong, denied, unnamed]) await expectNothingShared(blob)
}, 30_000)

test('a copy that is not what the registry took is never shared', async () => {
  await start()
  const lie = randomBlob(MIB)
  const truth = randomBlob(MIB)
  push.keepsInstead = truth.bytes
  const location = await chunk(await begin(), lie.bytes)
  // The registry calls it what it keeps.
  await ask({ method: 'PUT', path: closing(location, lie.digest) })
  await release([lie, truth])
  await expectNothingShared(lie)
  await expectNothingShared(truth)
}, 30_000)

test('a manifest in another repository than the push shares nothing', async () => {
  await start()
  const blob = randomBlob(MIB)
  await pushBlob(blob)
  await release([blob], { repository: OTHER })
  await expectNothingShared(blob)
}, 30_000)

test('who may not read the repository gets neither a byte nor a word of a pushed layer', async () => {
  await start()
  const blob = randomBlob(2 * MIB)
  await pushBlob(blob)
  await release([blob])
  await isShared(blob)
  const stranger = cluster.signer.sign(pullClaims(OTHER), { jwk: cluster.signer.publicJwk })
  const request = cluster.request(blob, { credential: { scheme: 'bearer', token: stranger } })
  await expect(pull(reader, request)).rejects.toMatchObject({ trackerCode: 'TOKEN_SCOPE' })
  await expect(pull(reader, { ...request, repository: OTHER as never })).rejects.toMatchObject({
    trackerCode: 'BLOB_NOT_IN_REPOSITORY',
  })
  // Before and after the push, with the pusher's own proxy: the registry's own answer.
  for (const digest of [blob.digest, randomBlob(8).digest]) {
    const headers = { authorization: `Bearer ${stranger}` }
    const path = `/v2/${REPOSITORY}/blobs/${digest}`
    expect((await askThrough(via, { path, headers })).status).toBe(401)
  }
  expect(progressOf(pusher, blob).bytesToPeers).toBe(0)
}, 30_000)

test('a push that does not fit is passed on all the same, and costs the cache no more than its share', async () => {
  await start({ client: { cacheBytesMax: 24 * MIB } })
  const large = randomBlob(13 * MIB)
  await pushBlob(large)
  await release([large])
  await expectNothingShared(large)
  expect((await pull(reader, cluster.request(large))).equals(large.bytes)).toBe(true)
}, 30_000)

test('a restart in the middle of a push leaves nothing behind', async () => {
  await start()
  const blob = randomBlob(2 * MIB)
  await chunk(await begin(), blob.bytes)
  const pushed = () => readdirSync(`${pusher.dataDir}/blobs`)
  expect(pushed().length).toBe(1)
  await pusher.client.close()
  await expect.poll(() => pushed().length, { timeout: 2000 }).toBe(0)
}, 30_000)
