import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { MEMORY_SAVED_AFTER_MS, NODE_MEMORY_FILE } from '../../client/membership/node-memory.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

/** What a node knows beside its blobs survives its end. */
let cluster: TestCluster
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await cluster?.close()
})
const MIB = 1024 * 1024
const memoryPath = (name: string) => join(cluster.folder, name, NODE_MEMORY_FILE)

test('a seed that restarts while tracker and registry are away serves a peer whose grant stands', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const seed = await cluster.addNode({ client: { uploadBytesPerSecondMax: 4 * MIB } })
  const other = await cluster.addNode()
  const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
  await pull(seed, cluster.request(blob))
  const pulling = pull(other, cluster.request(blob))
  await expect
    .poll(() => progressOf(other, blob)?.bytesFromPeers ?? 0, { timeout: 5000 })
    .toBeGreaterThan(MIB)
  await cluster.stopTracker()
  cluster.registry.isDown = true
  const { port } = seed.client.peerAddress
  await seed.stop()
  const peerListen = { host: '127.0.0.1', port }
  await cluster.addNode({ name: seed.name, joinToken: '', client: { peerListen } })
  expect((await pulling).equals(blob.bytes)).toBe(true)
  expect(progressOf(other, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
}, 30_000)

test('a node that restarts while the registry is away vouches for the tokens that it saw accepted, and no others', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [first] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  const request = cluster.request(blob)
  await pull(first!, request)
  const password = cluster.request(blob, { credential: { scheme: 'basic', value: 'YTpi' } })
  for (const accepted of [request, password]) first!.client.sawAccepted(accepted)
  expect(await first!.client.authorisedWithoutRegistry(password)).toBe(blob.bytes.length)
  await first!.stop()
  await cluster.stopTracker()
  cluster.registry.isDown = true
  const { client } = await cluster.addNode({ name: first!.name, joinToken: '' })
  expect(client.progress()).toMatchObject([{ state: 'complete', bytesFromRegistry: 0, bytesFromPeers: 0 }])
  expect(await client.authorisedWithoutRegistry(request)).toBe(blob.bytes.length)
  // Of a password not even a hash is kept.
  expect(await client.authorisedWithoutRegistry(password)).toBe(undefined)
  expect(await client.authorisedWithoutRegistry(cluster.request(blob))).toBe(undefined)
  expect(client.status().held).toMatchObject({ blobs: 1, bytes: blob.bytes.length })
}, 15_000)

test('a node that is killed has saved what it knew seconds before, for its owner only and without a token', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  const request = cluster.request(blob)
  const argument = JSON.stringify({ options: cluster.nodeOptions('killed'), request })
  const child = fork(join(import.meta.dirname, 'node-process.ts'), [argument], { stdio: 'inherit' })
  children.push(child)
  await expect.poll(() => cluster.registry.sentBytes.get(blob.digest), { timeout: 10_000 }).toBe(MIB)
  await delay(MEMORY_SAVED_AFTER_MS + 1500)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const text = readFileSync(memoryPath('killed'), 'utf8')
  expect(statSync(memoryPath('killed')).mode & 0o777).toBe(0o600)
  const { trust, serving, memberships } = JSON.parse(text)
  expect(trust).toMatchObject({ cluster: cluster.id, trust: { tokenKeys: [{ issuer: 'token server' }] } })
  expect([serving.expiresAtMs > Date.now(), memberships.length]).toEqual([true, 1])
  const { token } = request.credential as { token: string }
  for (const part of token.split('.')) expect(text).not.toContain(part)
}, 30_000)

test('a member starts although the tracker accepts its connection and says nothing', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [first] = cluster.nodes
  const { trackerUrl } = cluster.nodeOptions('') as { trackerUrl: string }
  await first!.stop()
  await cluster.stopTracker()
  const silent = createServer(() => {}).listen(Number(new URL(trackerUrl).port), '127.0.0.1')
  await once(silent, 'listening')
  const startedAtMs = performance.now()
  await cluster.addNode({ name: first!.name, joinToken: '' })
  expect(performance.now() - startedAtMs).toBeLessThan(5000)
  silent.close()
}, 20_000)

test.each([
  ['cut', (text: string) => text.slice(0, 100)],
  [
    'of a clock that was ahead',
    (text: string) => text.replace(/"heardAtMs":\d+/, '"heardAtMs":9000000000000'),
  ],
])(
  'a memory that is %s is not taken up, and costs nothing else',
  async (_, change) => {
    cluster = await startTestCluster({ nodes: 1 })
    const [first] = cluster.nodes
    const blob = cluster.registry.add(randomBlob(MIB).bytes)
    const request = cluster.request(blob)
    await pull(first!, request)
    first!.client.sawAccepted(request)
    await first!.stop()
    const text = readFileSync(memoryPath(first!.name), 'utf8')
    expect(change(text)).not.toBe(text)
    writeFileSync(memoryPath(first!.name), change(text))
    const again = await cluster.addNode({ name: first!.name, joinToken: '' })
    expect(await again.client.authorisedWithoutRegistry(request)).toBe(undefined)
    expect((await pull(again, request)).equals(blob.bytes)).toBe(true)
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
  },
  15_000,
)
