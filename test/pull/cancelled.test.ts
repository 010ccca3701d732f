import { afterEach, expect, test } from 'vitest'
import { pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a reader that goes away stops the fetch, and a later one gets all bytes', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(16 * MIB).bytes)
  cluster.registry.chunkPauseMs = 5
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const reading = open.read(0, open.bytes)
  await reading[Symbol.asyncIterator]().next()
  open.close()
  await pause(300)
  const sent = cluster.registry.sentBytes.get(blob.digest)!
  expect(sent).toBeLessThan(blob.bytes.length / 2)
  await pause(500)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(sent)
  cluster.registry.chunkPauseMs = 0
  expect((await pull(cluster.nodes[0]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}, 15_000)

test('a reader that goes away does not disturb another one of the same blob', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  cluster.registry.chunkPauseMs = 5
  const [node] = cluster.nodes
  const leaving = await node!.client.open(cluster.request(blob))
  const staying = pull(node!, cluster.request(blob))
  await leaving.read(0, leaving.bytes)[Symbol.asyncIterator]().next()
  leaving.close()
  expect((await staying).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 15_000)

test('a reader that is in the middle when its node stops gets an error and no hang', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  cluster.registry.chunkPauseMs = 20
  const [node] = cluster.nodes
  const open = await node!.client.open(cluster.request(blob))
  const reading = open.read(0, open.bytes)[Symbol.asyncIterator]()
  await reading.next()
  await node!.stop()
  const rest = (async () => {
    while (!(await reading.next()).done);
  })()
  await expect(Promise.race([rest, pause(3000).then(() => 'hung')])).rejects.toMatchObject({
    code: expect.stringMatching(/^CLIENT_CLOSED$|^STORE_CLOSED$/),
  })
}, 15_000)

test('a reader that is closed while it waits for a piece ends at once', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  cluster.registry.chunkPauseMs = 50
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const waiting = open
    .read(4 * MIB, open.bytes)
    [Symbol.asyncIterator]()
    .next()
  await pause(100)
  open.close()
  const outcome = Promise.race([waiting, pause(2000).then(() => 'hung')])
  await expect(outcome).rejects.toMatchObject({ code: 'READ_CLOSED' })
}, 15_000)
