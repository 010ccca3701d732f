import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024
const LIMIT = 3 * MIB
const BLOB_BYTES = 12 * MIB

/** A transfer of BLOB_BYTES at LIMIT, give or take a fifth. */
function expectLimited(startedAtMs: number, bytes = BLOB_BYTES): void {
  const bytesPerSecond = (bytes / (performance.now() - startedAtMs)) * 1000
  expect(bytesPerSecond / LIMIT).toBeGreaterThan(0.8)
  expect(bytesPerSecond / LIMIT).toBeLessThan(1.2)
}

test('a node sends to all its peers together no faster than it may', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const holder = await cluster.addNode({ client: { uploadBytesPerSecondMax: LIMIT } })
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await pull(holder, cluster.request(blob))
  const downloaders = [await cluster.addNode(), await cluster.addNode()]
  const startedAtMs = performance.now()
  const all = await Promise.all(downloaders.map((node) => pull(node, cluster.request(blob))))
  for (const bytes of all) expect(bytes.equals(blob.bytes)).toBe(true)
  expectLimited(startedAtMs, progressOf(holder, blob).bytesToPeers)
}, 30_000)

test('a node takes from its peers no faster than it may', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  for (const node of cluster.nodes) await pull(node, cluster.request(blob))
  const limited = await cluster.addNode({ client: { downloadBytesPerSecondMax: LIMIT } })
  const startedAtMs = performance.now()
  expect((await pull(limited, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expectLimited(startedAtMs)
  expect(progressOf(limited, blob).bytesFromPeers).toBe(BLOB_BYTES)
}, 30_000)

test('a node takes from the registry no faster than it may', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const limited = await cluster.addNode({ client: { downloadBytesPerSecondMax: LIMIT } })
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const startedAtMs = performance.now()
  expect((await pull(limited, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expectLimited(startedAtMs)
}, 30_000)

test('a node takes from the registry no faster than its limit for registries, and from peers at any rate', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const limited = await cluster.addNode({ client: { registryBytesPerSecondMax: LIMIT } })
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const startedAtMs = performance.now()
  expect((await pull(limited, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expectLimited(startedAtMs)
  const holder = await cluster.addNode()
  const other = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await pull(holder, cluster.request(other))
  const fromPeersMs = performance.now()
  await pull(limited, cluster.request(other))
  expect(performance.now() - fromPeersMs).toBeLessThan((BLOB_BYTES / LIMIT) * 500)
}, 30_000)

test('a limit that changes while a pull runs counts at once', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const slow = { downloadBytesPerSecondMax: 256 * 1024, trackerPatienceMs: 500 }
  const node = await cluster.addNode({ client: slow })
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const startedAtMs = performance.now()
  const pulling = pull(node, cluster.request(blob))
  setTimeout(() => node.client.limits.change({ ...slow, downloadBytesPerSecondMax: 0 }), 1000)
  expect((await pulling).equals(blob.bytes)).toBe(true)
  // At 256 KiB a second it would take 48 s.
  expect(performance.now() - startedAtMs).toBeLessThan(10_000)
}, 30_000)

test('a node accepts no more connections than it may, and more once it may', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { peerConnectionsMax: 4 } })
  const { port } = node.client.peerAddress
  const openOf = async (count: number) => {
    const sockets = Array.from({ length: count }, () =>
      connect(port, '127.0.0.1').on('error', () => undefined),
    )
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    // Refused ones end at once; one that says nothing for half a second gives its place away.
    await wait(200)
    const open = sockets.filter((socket) => !socket.closed && !socket.readableEnded)
    for (const socket of sockets) socket.resume()
    await wait(50)
    const left = open.filter((socket) => !socket.closed).length
    for (const socket of sockets) socket.destroy()
    await wait(50)
    return left
  }
  expect(await openOf(7)).toBe(4)
  node.client.limits.change({ peerConnectionsMax: 400, trackerPatienceMs: 500 })
  expect(await openOf(7)).toBe(7)
})
