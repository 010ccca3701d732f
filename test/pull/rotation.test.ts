import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { BlobProgress } from '../../client/client.ts'
import { Conditions } from '../../core/conditions.ts'
import { connectionsTo } from './connections.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

let cluster: TestCluster
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await cluster?.close()
})
const MIB = 1024 * 1024
/** Where an answer to HEAD is late, the tracker asks by GET for one byte as well. */
const QUESTIONS_BYTES_MAX = 64
/** Three missed heartbeats of a second: from then on the new authority issues. */
const SETTLE_MS = 3000

const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))
const authorities = () => `/admin/v1/clusters/${cluster.id}/authorities`
async function rotate(): Promise<void> {
  expect((await cluster.admin(authorities(), {})).status).toBe(201)
}
const withdraw = (isForced = false) => cluster.admin(`${authorities()}/withdrawal`, { isForced })

test('a download goes on from peers alone while the authority is changed under it', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [holder] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(14 * MIB).bytes)
  await pull(holder!, cluster.request(blob))
  const slow = await cluster.addNode({ client: { downloadBytesPerSecondMax: MIB } })
  const { port } = holder!.client.peerAddress
  const pulled = pull(slow, cluster.request(blob))
  await expect.poll(() => connectionsTo(port).length, { timeout: 3000 }).toBe(1)
  const [first] = connectionsTo(port)

  await rotate()
  // Every node has renewed of itself once nobody holds a certificate of the old authority.
  await expect
    .poll(async () => (await withdraw()).status, { timeout: SETTLE_MS + 4000, interval: 200 })
    .toBe(200)
  expect(progressOf(slow, blob).state).toBe('downloading')
  await sleep(2500)
  expect(progressOf(slow, blob).state).toBe('downloading')
  expect(connectionsTo(port)).toHaveLength(1)
  expect(connectionsTo(port)).not.toContain(first)

  expect((await pulled).equals(blob.bytes)).toBe(true)
  expect(progressOf(slow, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
  expect(cluster.registry.sentBytes.get(blob.digest)).toBeLessThan(blob.bytes.length + QUESTIONS_BYTES_MAX)
  const late = await cluster.addNode()
  expect((await pull(late, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(late, blob).bytesFromRegistry).toBe(0)
}, 60_000)

const signingKeys = () => `/admin/v1/clusters/${cluster.id}/signing-keys`
async function rotateSigningKey(isLeaked = false): Promise<void> {
  expect((await cluster.admin(signingKeys(), { isLeaked })).status).toBe(201)
}
const withdrawSigningKey = (isForced = false) => cluster.admin(`${signingKeys()}/withdrawal`, { isForced })

/** Of a registry that knows no signed tokens: what peers are shown is minted by the tracker. */
const OPAQUE = { scheme: 'bearer' as const, token: 'opaque_5b4a3c2d1e0f' }
async function startOpaqueCluster(nodes: number): Promise<void> {
  cluster = await startTestCluster({ nodes, kind: 'introspect' })
  cluster.registry.accepted.add(`Bearer ${OPAQUE.token}`)
}
const opaqueRequest = (blob: TestBlob) => cluster.request(blob, { credential: OPAQUE })

test('a download goes on from peers alone while the signing key is changed under it', async () => {
  await startOpaqueCluster(1)
  const [holder] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(14 * MIB).bytes)
  await pull(holder!, opaqueRequest(blob))
  const slow = await cluster.addNode({ client: { downloadBytesPerSecondMax: MIB } })
  const { port } = holder!.client.peerAddress
  const pulled = pull(slow, opaqueRequest(blob))
  await expect.poll(() => connectionsTo(port).length, { timeout: 3000 }).toBe(1)
  const [first] = connectionsTo(port)

  await rotateSigningKey()
  await expect
    .poll(async () => (await withdrawSigningKey()).status, { timeout: 2 * SETTLE_MS + 2000, interval: 200 })
    .toBe(200)
  expect(progressOf(slow, blob).state).toBe('downloading')
  // A heartbeat later nobody takes the old peer token any more: the node has opened its pull with another before, on the link that there is.
  await sleep(2500)
  expect(progressOf(slow, blob).state).toBe('downloading')
  expect(connectionsTo(port)).toEqual([first])

  expect((await pulled).equals(blob.bytes)).toBe(true)
  expect(progressOf(slow, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
  expect(cluster.registry.sentBytes.get(blob.digest)).toBeLessThan(blob.bytes.length + QUESTIONS_BYTES_MAX)
  const late = await cluster.addNode()
  expect((await pull(late, opaqueRequest(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(late, blob).bytesFromRegistry).toBe(0)
}, 60_000)

test('nodes that fetch a cold blob together share it while a leaked signing key is changed under them', async () => {
  await startOpaqueCluster(4)
  const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
  cluster.registry.chunkPauseMs = 40
  const pulls = cluster.nodes.map((node) => pull(node, opaqueRequest(blob)))
  const sent = () => cluster.registry.sentBytes.get(blob.digest) ?? 0
  await expect.poll(sent, { timeout: 10_000 }).toBeGreaterThan(MIB)
  // Nearly nothing comes until the old key has ended, so that the most of it comes under the new one.
  cluster.registry.chunkPauseMs = 1000
  await rotateSigningKey(true)
  await sleep(SETTLE_MS + 500)
  cluster.registry.chunkPauseMs = 40
  const states = cluster.nodes.map((node) => progressOf(node, blob).state)
  expect(states).toEqual(Array(4).fill('downloading'))
  for (const got of await Promise.all(pulls)) expect(got.equals(blob.bytes)).toBe(true)
  expect(sent()).toBeLessThan(1.25 * blob.bytes.length)
}, 60_000)

test('a seed that was off for the whole change of the signing key serves again', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [holder] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(holder!, cluster.request(blob))
  await holder!.stop()
  await rotateSigningKey(true)
  await sleep(SETTLE_MS + 500)
  await cluster.addNode({ name: holder!.name })
  const late = await cluster.addNode()
  expect((await pull(late, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(late, blob).bytesFromPeers).toBe(blob.bytes.length)
}, 60_000)

test('a node that was off for the whole change joins again with the join token, and says so without one', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [holder, absent] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(holder!, cluster.request(blob))
  await absent!.stop()
  await rotate()
  await sleep(SETTLE_MS + 1500)
  // Its certificate would have been good for a day.
  expect(await withdraw()).toMatchObject({ status: 409, body: { error: { code: 'ROTATION_TOO_EARLY' } } })
  expect(await withdraw(true)).toMatchObject({ status: 200, body: { nodesLeft: 1 } })

  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const client = { joinToken: undefined, conditions } as object
  const tokenless = await cluster.addNode({ name: absent!.name, client })
  expect(conditions.shown()).toMatchObject([
    { code: 'NOT_JOINED', facts: { error: 'JOIN', hint: expect.stringContaining('join token') } },
  ])
  await tokenless.stop()
  const again = await cluster.addNode({ name: absent!.name })
  expect((await pull(again, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(again, blob).bytesFromRegistry).toBe(0)
}, 60_000)

test('a node that stood still during the whole change finishes its download and serves', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
  const [holder] = cluster.nodes
  await pull(holder!, cluster.request(blob))
  const options = { ...cluster.nodeOptions('frozen'), downloadBytesPerSecondMax: 2 * MIB }
  const argument = JSON.stringify({ options, request: cluster.request(blob) })
  const child = fork(join(import.meta.dirname, 'node-process.ts'), [argument], { stdio: 'inherit' })
  children.push(child)
  let seen: BlobProgress | undefined
  child.on('message', ({ progress }: { progress?: BlobProgress[] }) => {
    seen = progress?.[0] ?? seen
  })
  await expect.poll(() => seen?.bytesFromPeers ?? 0, { timeout: 10_000 }).toBeGreaterThan(MIB)
  child.kill('SIGSTOP')
  await rotate()
  await sleep(SETTLE_MS + 1500)
  expect((await withdraw(true)).status).toBe(200)
  child.kill('SIGCONT')
  await expect.poll(() => seen?.state, { timeout: 20_000 }).toBe('complete')
  // While it had no certificate the registry may have served it a part.
  expect(seen!.bytesFromPeers + seen!.bytesFromRegistry).toBe(blob.bytes.length)
  expect(seen!.bytesFromPeers).toBeGreaterThan(MIB)
  // And it is a member again: it alone has the blob, and others take it.
  await holder!.stop()
  const late = await cluster.addNode({ name: 'late' })
  expect((await pull(late, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(late, blob).bytesFromPeers).toBe(blob.bytes.length)
}, 60_000)
