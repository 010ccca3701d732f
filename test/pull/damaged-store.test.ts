import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** Bytes that change on the disk of a running node. */

const MIB = 1024 * 1024
/** 32 pieces. */
const BLOB_BYTES = 8 * MIB

let cluster: TestCluster
afterEach(() => cluster?.close())

function dataFileOf({ dataDir }: TestNode, { digest }: TestBlob): string {
  const blobs = join(dataDir, 'blobs')
  const name = readdirSync(blobs).find((swarm) =>
    readFileSync(join(blobs, swarm, 'state.json'), 'utf8').includes(digest),
  )
  return join(blobs, name!, 'data')
}

/** Flips one bit. */
function damage(node: TestNode, blob: TestBlob, at: number): void {
  const fd = openSync(dataFileOf(node, blob), 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  byte[0]! ^= 1
  writeSync(fd, byte, 0, 1, at)
  closeSync(fd)
}

async function holderOf(bytes: number, client = {}) {
  cluster = await startTestCluster({ nodes: 0 })
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const node = await cluster.addNode({ client: { conditions, ...client } })
  const blob = cluster.registry.add(randomBlob(bytes).bytes)
  await pull(node, cluster.request(blob))
  return { node, blob, codes: () => conditions.list().map(({ code }) => code) }
}

const sent = (blob: TestBlob) => cluster.registry.sentBytes.get(blob.digest) ?? 0

test('a reader gets the right bytes of a damaged blob, and the next pull fetches only what was damaged', async () => {
  const { node, blob, codes } = await holderOf(BLOB_BYTES)
  damage(node, blob, 5 * MIB + 7)
  const before = sent(blob)
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  // This reader got the rest of the blob from the registry.
  expect(sent(blob) - before).toBe(3 * MIB)
  expect(codes()).toEqual(['CACHE_DAMAGED'])
  expect(progressOf(node, blob)).toMatchObject({ state: 'partial' })
  const again = sent(blob)
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(sent(blob) - again).toBe(256 * 1024)
  expect(progressOf(node, blob)).toMatchObject({ state: 'complete' })
})

test('damage in the middle of a read ends no pull', async () => {
  const { node, blob } = await holderOf(BLOB_BYTES)
  const open = await node.client.open(cluster.request(blob))
  const parts: Buffer[] = []
  for await (const chunk of open.read(0, open.bytes)) {
    if (parts.length === 2) damage(node, blob, 7 * MIB)
    parts.push(Buffer.from(chunk))
  }
  open.close()
  expect(Buffer.concat(parts).equals(blob.bytes)).toBe(true)
})

test('damage that is found behind a reader ends no pull either', async () => {
  const { node, blob } = await holderOf(BLOB_BYTES)
  const open = await node.client.open(cluster.request(blob))
  const parts: Buffer[] = []
  let bytes = 0
  for await (const chunk of open.read(0, open.bytes)) {
    parts.push(Buffer.from(chunk))
    bytes += chunk.length
    if (bytes !== 4 * MIB) continue
    damage(node, blob, MIB)
    await node.client.cache.verify(() => undefined, new AbortController().signal)
  }
  open.close()
  expect(node.client.cache.list()).not.toMatchObject([{ isWhole: true }])
  expect(Buffer.concat(parts).equals(blob.bytes)).toBe(true)
})

test('a blob without signed hashes is checked against its digest', async () => {
  const { node, blob } = await holderOf(BLOB_BYTES)
  await cluster.stopTracker()
  const other = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const isStored = await pull(node, cluster.request(other)).then(
    () => progressOf(node, other)?.state === 'complete',
    () => false,
  )
  damage(node, blob, 100)
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  if (!isStored) return
  damage(node, other, 100)
  expect((await pull(node, cluster.request(other))).equals(other.bytes)).toBe(true)
})

test('another node gets right bytes from a cluster whose holder is damaged', async () => {
  const { node, blob } = await holderOf(BLOB_BYTES)
  damage(node, blob, 3 * MIB)
  const second = await cluster.addNode()
  expect((await pull(second, cluster.request(blob))).equals(blob.bytes)).toBe(true)
})

test('verify drops what is damaged, says so, and leaves the rest', async () => {
  const { node, blob, codes } = await holderOf(BLOB_BYTES)
  const whole = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(node, cluster.request(whole))
  damage(node, blob, 1 * MIB)
  const checked: Record<string, object> = {}
  const { signal } = new AbortController()
  await node.client.cache.verify(({ digest, checkedBytes, wrongBytes, isWhole }) => {
    checked[digest] = { checkedBytes, wrongBytes, isWhole }
  }, signal)
  expect(checked).toEqual({
    [blob.digest]: { checkedBytes: BLOB_BYTES, wrongBytes: 256 * 1024, isWhole: false },
    [whole.digest]: { checkedBytes: 2 * MIB, wrongBytes: 0, isWhole: true },
  })
  expect(codes()).toEqual(['CACHE_DAMAGED'])
  const before = sent(blob)
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(sent(blob) - before).toBe(256 * 1024)
})

test('a reader whose blob is being verified is not disturbed, and a damaged blob is no longer listed as whole', async () => {
  const { node, blob } = await holderOf(BLOB_BYTES)
  damage(node, blob, BLOB_BYTES - 1)
  const reading = pull(node, cluster.request(blob))
  await node.client.cache.verify(() => undefined, new AbortController().signal)
  expect((await reading).equals(blob.bytes)).toBe(true)
  expect(node.client.cache.list().filter(({ isWhole }) => isWhole)).toEqual([])
})
