import { execFileSync } from 'node:child_process'
import { mkdirSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

const it = test.skipIf(mustSkipFor(['linux', 'root']))

/** A disk that is really full: a small file system of its own, which needs root. */
let cluster: TestCluster
let mounted: string | undefined
let logged: { code?: string; msg: string; level: string | number }[] = []
afterEach(async () => {
  for (const node of [...(cluster?.nodes ?? [])]) await node.stop()
  if (mounted) execFileSync('umount', [mounted])
  mounted = undefined
  logged = []
  await cluster?.close()
})
const MIB = 1024 * 1024
/** What the store leaves free beside its blobs, so that the file system is a little larger. */
const RESERVE_BYTES = 256 * MIB

/** A node whose data folder is a file system with this much room for blobs. */
async function nodeOnDisk(name: string, roomBytes: number): Promise<TestNode> {
  mounted = join(cluster.folder, name)
  mkdirSync(mounted)
  const size = RESERVE_BYTES + roomBytes
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'shoal-test', mounted])
  return cluster.addNode({ name })
}

/** Takes all of the disk but `leftBytes`, as other programs on the machine may. */
function fillDisk(leftBytes: number): void {
  const { bavail, bsize } = statfsSync(mounted!)
  writeFileSync(join(mounted!, 'filler'), Buffer.alloc(bavail * bsize - leftBytes))
}

const logTo = { write: (line: string) => void logged.push(JSON.parse(line)) }

it('a disk that fills up in the middle of a download costs the copy; the response is whole', async () => {
  cluster = await startTestCluster({ nodes: 1, logLevel: 'info', logTo })
  const node = await nodeOnDisk('small', 64 * MIB)
  const held = cluster.registry.add(randomBlob(2 * MIB).bytes)
  await pull(node, cluster.request(held))
  const blob = cluster.registry.add(randomBlob(16 * MIB).bytes)
  cluster.registry.chunkPauseMs = 5
  const pulling = pull(node, cluster.request(blob))
  await expect.poll(() => progressOf(node, blob)?.bytesFromRegistry ?? 0, { interval: 5 }).toBeGreaterThan(0)
  fillDisk(2 * MIB)
  cluster.registry.chunkPauseMs = 0
  expect((await pulling).equals(blob.bytes)).toBe(true)
  expect(logged.map(({ code }) => code)).toContain('STORE_WRITE')
  expect(logged.map(({ msg }) => msg)).toContain('the rest of the blob comes from the registry')
  // What it held before is still served: to its own client and to others.
  expect((await pull(node, cluster.request(held))).equals(held.bytes)).toBe(true)
  const [other] = cluster.nodes
  expect((await pull(other!, cluster.request(held))).equals(held.bytes)).toBe(true)
  expect(progressOf(other!, held).bytesFromPeers).toBe(held.bytes.length)
}, 60_000)

it('a disk that fills up while peers send: the rest comes from the registry', async () => {
  cluster = await startTestCluster({ nodes: 1, logLevel: 'info', logTo })
  const blob = cluster.registry.add(randomBlob(32 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const node = await nodeOnDisk('small', 64 * MIB)
  const open = await node.client.open(cluster.request(blob))
  fillDisk(8 * MIB)
  const chunks: Buffer[] = []
  for await (const chunk of open.read(0, open.bytes)) chunks.push(Buffer.from(chunk))
  open.close()
  expect(Buffer.concat(chunks).equals(blob.bytes)).toBe(true)
  expect(logged.map(({ code }) => code)).toContain('STORE_WRITE')
}, 60_000)

it('a blob that does not fit the disk is refused at once, so that it goes straight to the registry', async () => {
  cluster = await startTestCluster({ nodes: 0, logLevel: 'info', logTo })
  const node = await nodeOnDisk('small', 4 * MIB)
  const blob = cluster.registry.add(randomBlob(8 * MIB).bytes)
  await expect(node.client.open(cluster.request(blob))).rejects.toMatchObject({ code: 'STORE_FULL' })
}, 30_000)
