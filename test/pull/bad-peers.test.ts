import { fork } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readdirSync, writeSync } from 'node:fs'
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
afterEach(() => cluster?.close())
const MIB = 1024 * 1024

/** Overwrites the stored copy of a node's only blob from `at` on, behind its back. */
function spoil(node: TestNode, at: number, bytes: number): void {
  const [swarm] = readdirSync(join(node.dataDir, 'blobs'))
  const fd = openSync(join(node.dataDir, 'blobs', swarm!, 'data'), 'r+')
  writeSync(fd, Buffer.alloc(bytes, 0xee), 0, bytes, at)
}

async function expectRight(node: TestNode, blob: TestBlob): Promise<void> {
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}

test('a peer whose every piece is corrupt is dropped; this pull and later ones end with the right bytes', async () => {
  const codes: string[] = []
  const logTo = { write: (line: string) => void codes.push(JSON.parse(line).code) }
  cluster = await startTestCluster({ nodes: 3, logLevel: 'info', logTo })
  const blob = cluster.registry.add(randomBlob(3 * MIB).bytes)
  const [corrupt, second, third] = cluster.nodes
  await expectRight(corrupt!, blob)
  spoil(corrupt!, 0, 3 * MIB)
  await expectRight(second!, blob)
  expect(codes).toContain('PIECE_CORRUPT')
  expect(progressOf(second!, blob).bytesFromPeers).toBe(0)
  await expectRight(third!, blob)
}, 20_000)

test('a peer with one corrupt piece beside good peers costs no byte from the registry', async () => {
  cluster = await startTestCluster({ nodes: 4 })
  const blob = cluster.registry.add(randomBlob(6 * MIB).bytes)
  const [corrupt, second, third, fourth] = cluster.nodes
  for (const node of [corrupt!, second!, third!]) await expectRight(node, blob)
  spoil(corrupt!, 2 * MIB, MIB)
  await expectRight(fourth!, blob)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 20_000)

test('the only uploader is stopped in the middle of a blob: it ends with the right bytes', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(48 * MIB).bytes)
  const [uploader, downloader] = cluster.nodes
  await expectRight(uploader!, blob)
  const pulling = pull(downloader!, cluster.request(blob))
  const isInFlight = () => (progressOf(downloader!, blob)?.bytesFromPeers ?? 0) > 0
  while (!isInFlight()) await new Promise((resolve) => setImmediate(resolve))
  await uploader!.stop()
  expect((await pulling).equals(blob.bytes)).toBe(true)
  expect(progressOf(downloader!, blob).bytesFromRegistry).toBeGreaterThan(0)
}, 20_000)

test('an uploader that is killed in the middle of a blob is replaced by another peer', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const blob = cluster.registry.add(randomBlob(48 * MIB).bytes)
  const [other, downloader] = cluster.nodes
  await expectRight(other!, blob)
  const child = startChild('doomed', blob)
  await untilComplete(child)
  const pulling = pull(downloader!, cluster.request(blob))
  while (!progressOf(downloader!, blob)?.bytesFromPeers) await new Promise((resolve) => setImmediate(resolve))
  child.kill('SIGKILL')
  expect((await pulling).equals(blob.bytes)).toBe(true)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
}, 30_000)

test('a node that is frozen in the middle of serving does not hold the pull up', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(32 * MIB).bytes)
  const child = startChild('frozen', blob)
  await untilComplete(child)
  const [downloader] = cluster.nodes
  const pulling = pull(downloader!, cluster.request(blob))
  while (!progressOf(downloader!, blob)?.bytesFromPeers) await new Promise((resolve) => setImmediate(resolve))
  child.kill('SIGSTOP')
  const startedAtMs = Date.now()
  expect((await pulling).equals(blob.bytes)).toBe(true)
  expect(Date.now() - startedAtMs).toBeLessThan(9000)
  child.kill('SIGKILL')
}, 30_000)

function startChild(name: string, blob: TestBlob) {
  const argument = JSON.stringify({ options: cluster.nodeOptions(name), request: cluster.request(blob) })
  return fork(join(import.meta.dirname, 'node-process.ts'), [argument], { stdio: 'inherit' })
}

async function untilComplete(child: ReturnType<typeof startChild>): Promise<void> {
  for (;;) {
    const [message] = (await once(child, 'message')) as [{ progress?: { state: string }[] }]
    if (message.progress?.some(({ state }) => state === 'complete')) return
  }
}
