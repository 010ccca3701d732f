import { afterEach, expect, test } from 'vitest'
import { READ_AHEAD_BYTES } from '../../client/swarm/readers.ts'
import {
  progressOf,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

async function readPart(node: TestNode, blob: TestBlob, start: number, end: number): Promise<void> {
  const open = await node.client.open(cluster.request(blob, { part: { start, end } }))
  const chunks: Uint8Array[] = []
  for await (const chunk of open.read(start, end)) chunks.push(Buffer.from(chunk))
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes.subarray(start, end))).toBe(true)
}

/** Nothing more leaves the registry for a while. @returns what has left, of this blob */
async function sentBytes(blob: TestBlob): Promise<number> {
  let before = -1
  for (let sent = 0; sent !== before; sent = cluster.registry.sentBytes.get(blob.digest) ?? 0) {
    before = sent
    await new Promise((resolve) => setTimeout(resolve, 400))
  }
  return before
}

test('a small range costs the registry a bounded window, and not the rest of the blob', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(24 * MIB).bytes)
  const [one, other] = cluster.nodes
  await readPart(one!, blob, 12_000_000, 12_000_100)
  expect(await sentBytes(blob)).toBeLessThanOrEqual(READ_AHEAD_BYTES + MIB)
  await readPart(other!, blob, 12_000_000, 12_000_100)
  expect(await sentBytes(blob)).toBeLessThanOrEqual(2 * (READ_AHEAD_BYTES + MIB))
}, 30_000)

test('the last bytes of a blob are read without the blob', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(24 * MIB).bytes)
  await readPart(cluster.nodes[0]!, blob, blob.bytes.length - 51, blob.bytes.length)
  expect(await sentBytes(blob)).toBeLessThanOrEqual(MIB)
}, 30_000)

test('a reader that goes on where it stopped, or asks for the whole, gets a node that reads ahead', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [node] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(24 * MIB).bytes)
  await readPart(node!, blob, 0, 1000)
  await readPart(node!, blob, 1000, 2000)
  const open = await node!.client.open(cluster.request(blob, { part: { start: 2000, end: 3000 } }))
  const isWhole = () => progressOf(node!, blob).state === 'complete'
  await expect.poll(isWhole, { timeout: 10_000 }).toBe(true)
  open.close()
  const sent = cluster.registry.sentBytes.get(blob.digest)
  await readPart(node!, blob, 3 * MIB, 24 * MIB)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(sent)
}, 30_000)
