import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

let cluster: TestCluster
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await cluster?.close()
})
const MIB = 1024 * 1024

test('a node that was restarted serves its store again, without a join token and without a pull', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  const [first, second] = cluster.nodes
  await pull(first!, cluster.request(blob))
  await first!.stop()
  const again = await cluster.addNode({ name: first!.name, joinToken: '' })
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect((await pull(second!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(second!, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
  expect((await pull(again, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 15_000)

test('the key of a node is readable by its owner only', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  expect(statSync(join(cluster.nodes[0]!.dataDir, 'node-key.pem')).mode & 0o777).toBe(0o600)
})

test('a node that was killed in the middle of a download resumes with the pieces that it had', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
  cluster.registry.chunkPauseMs = 10
  const argument = JSON.stringify({ options: cluster.nodeOptions('killed'), request: cluster.request(blob) })
  const child = fork(join(import.meta.dirname, 'node-process.ts'), [argument], { stdio: 'inherit' })
  children.push(child)
  const folder = () => join(cluster.folder, 'killed', 'blobs')
  await expect.poll(() => savedPieces(folder()), { timeout: 10_000 }).toBeGreaterThan(8)
  child.kill('SIGKILL')
  await once(child, 'exit')
  cluster.registry.chunkPauseMs = 0
  const saved = savedPieces(folder())
  const node = await cluster.addNode({ name: 'killed' })
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(node, blob).bytesFromRegistry).toBeLessThanOrEqual(blob.bytes.length - saved * 256 * 1024)
}, 30_000)

test('a node that was killed while peers sent takes from them only what it lacked', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const holder = await cluster.addNode({ client: { uploadBytesPerSecondMax: 6 * MIB } })
  const blob = cluster.registry.add(randomBlob(16 * MIB).bytes)
  await pull(holder, cluster.request(blob))
  const argument = JSON.stringify({ options: cluster.nodeOptions('killed'), request: cluster.request(blob) })
  const child = fork(join(import.meta.dirname, 'node-process.ts'), [argument], { stdio: 'inherit' })
  children.push(child)
  const folder = join(cluster.folder, 'killed', 'blobs')
  await expect.poll(() => savedPieces(folder), { timeout: 10_000, interval: 10 }).toBeGreaterThan(8)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const saved = savedPieces(folder)
  expect(saved).toBeLessThan(64)
  const node = await cluster.addNode({ name: 'killed' })
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(node, blob).bytesFromPeers).toBe(blob.bytes.length - saved * 256 * 1024)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 30_000)

function savedPieces(folder: string): number {
  try {
    const state = stateIn(folder)
    return [...Buffer.from(state.pieces, 'base64url')].reduce(
      (sum, byte) => sum + byte.toString(2).replaceAll('0', '').length,
      0,
    )
  } catch {
    return 0
  }
}

const statePath = (folder: string) => join(folder, readdirSync(folder)[0]!, 'state.json')
const stateIn = (folder: string) => JSON.parse(readFileSync(statePath(folder), 'utf8'))

/** Stops the node, changes its state file, starts it again. */
async function withState(
  node: TestNode,
  change: (state: Record<string, unknown>) => unknown,
): Promise<TestNode> {
  const folder = join(node.dataDir, 'blobs')
  await node.stop()
  const changed = change(stateIn(folder))
  writeFileSync(statePath(folder), typeof changed === 'string' ? changed : JSON.stringify(changed))
  return cluster.addNode({ name: node.name })
}

async function heldBlob(): Promise<{ blob: TestBlob; node: TestNode }> {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  return { blob, node: cluster.nodes[0]! }
}

test('a node that was killed between the last piece and the match of the whole finishes the blob', async () => {
  const { blob, node } = await heldBlob()
  const again = await withState(node, (state) => ({ ...state, isMatched: false }))
  expect((await pull(again, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 15_000)

test('a state file that cannot be read costs the copy, not the pull', async () => {
  const { blob, node } = await heldBlob()
  const again = await withState(node, () => '{"version":1,')
  expect((await pull(again, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}, 15_000)

test('after an unclean end a node gives nobody what its disk lost, and fetches just that again', async () => {
  const { blob, node } = await heldBlob()
  const again = await withState(node, (state) => {
    const folder = join(node.dataDir, 'blobs')
    const fd = openSync(join(folder, readdirSync(folder)[0]!, 'data'), 'r+')
    writeSync(fd, Buffer.alloc(4096), 0, 4096, MIB)
    closeSync(fd)
    return { ...state, isClean: false }
  })
  expect((await pull(again, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length + 256 * 1024)
  const other = await cluster.addNode({ name: 'other' })
  expect((await pull(other, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}, 20_000)
