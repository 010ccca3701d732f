import { setTimeout } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type { OpenBlob } from '../../client/index.ts'
import { randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024
const PIECE_CHUNK_PAUSE_MS = 1200
/** Longer than any pause of an answer that is about to stand still. */
const FOR_EVER_MS = 1_000_000
/** Longer than a node waits until it fetches alone. */
const stallLimits = { ms: 4000, promisedMs: 4000 }

async function readAll(open: OpenBlob, chunks: Uint8Array[] = []): Promise<Buffer> {
  for await (const chunk of open.read(0, open.bytes)) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

/** The registry's answers of this moment stand still; those to later requests do not. */
async function standStill(): Promise<void> {
  cluster.registry.chunkPauseMs = FOR_EVER_MS
  await setTimeout(300)
  cluster.registry.chunkPauseMs = 0
}

test('a download that stands still costs its reader a wait with an end, and the next reader a new download', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { stallLimits } })
  const blob = cluster.registry.add(randomBlob(16 * MIB).bytes)
  cluster.registry.chunkPauseMs = 20
  const open = await node.client.open(cluster.request(blob))
  const reading = open.read(0, open.bytes)[Symbol.asyncIterator]()
  const first = Buffer.from((await reading.next()).value!)
  await standStill()
  const chunks = [first]
  const startedAtMs = performance.now()
  for (let next = await reading.next(); !next.done; next = await reading.next()) {
    chunks.push(Buffer.from(next.value))
    if (open.fallback !== undefined) break
  }
  expect(open.fallback).toBe('SWARM_STALLED')
  expect(performance.now() - startedAtMs).toBeLessThan(10_000)

  // The first reader still gets its rest from the registry.
  const other = await node.client.open(cluster.request(blob))
  expect((await readAll(other)).equals(blob.bytes)).toBe(true)
  expect(other.fallback).toBeUndefined()
  other.close()

  for (let next = await reading.next(); !next.done; next = await reading.next())
    chunks.push(Buffer.from(next.value))
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
  open.close()
}, 30_000)

test('a node whose peer sends nothing while the tracker says "wait" gets its bytes from the registry', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const waiting = await cluster.addNode({ client: { stallLimits } })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  cluster.registry.chunkPauseMs = 20
  const holder = await cluster.nodes[0]!.client.open(cluster.request(blob))
  await holder.read(0, holder.bytes)[Symbol.asyncIterator]().next()
  await standStill()
  const open = await waiting.client.open(cluster.request(blob))
  const startedAtMs = performance.now()
  expect((await readAll(open)).equals(blob.bytes)).toBe(true)
  expect(open.fallback).toBe('SWARM_STALLED')
  expect(performance.now() - startedAtMs).toBeLessThan(10_000)
  open.close()
  holder.close()
}, 30_000)

test('a client that does not read, and a registry that is slow, are no stall', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: { stallLimits } })
  const blob = cluster.registry.add(randomBlob(300_000).bytes)
  // The first piece takes longer than a reader waits where nothing moves.
  cluster.registry.chunkPauseMs = PIECE_CHUNK_PAUSE_MS
  const open = await node.client.open(cluster.request(blob))
  const reading = open.read(0, open.bytes)[Symbol.asyncIterator]()
  const chunks = [Buffer.from((await reading.next()).value!)]
  await setTimeout(4500)
  for (let next = await reading.next(); !next.done; next = await reading.next())
    chunks.push(Buffer.from(next.value))
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
  expect(open.fallback).toBeUndefined()
  open.close()
}, 30_000)
