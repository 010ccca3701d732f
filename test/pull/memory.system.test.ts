import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BenchBlob, makeBlob } from '../../bench/measure/blob.ts'
import { type LineProcess, startLineProcess } from '../../bench/measure/line-process.ts'
import type { ShoalServices } from '../../bench/measure/shoal-questions.ts'
import { type NodeProcess, startNodeProcess } from '../../bench/memory/node-process.ts'

/** Memory of real nodes, from the kernel's books; `npm run bench:memory` measures more and larger. */
let folder: string
let services: LineProcess
let settings: ShoalServices
const nodes: NodeProcess[] = []
const MIB = 1024 * 1024
const PEAK_MIB_MAX = 250

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-memory-'))
  const program = join(import.meta.dirname, '../../bench/engine/peers/shoal-services.ts')
  services = startLineProcess([process.execPath, program])
  settings = await services.ask<ShoalServices>({ do: 'open', folder })
})
afterAll(async () => {
  for (const node of nodes) await node.stop()
  await services?.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function startNode(name: string): Promise<NodeProcess> {
  const node = await startNodeProcess(join(folder, name), settings)
  nodes.push(node)
  return node
}

async function offer(bytes: number): Promise<BenchBlob> {
  const blob = await makeBlob(folder, bytes)
  await services.ask({ do: 'add', name: blob.name, path: blob.path, bytes: blob.bytes })
  return blob
}

const token = async () => (await services.ask<{ token: string }>({ do: 'token' })).token

test('512 MiB pass through two nodes, from the registry and from a peer, in bounded memory', async () => {
  const blob = await offer(512 * MIB)
  const first = await startNode('first')
  await first.pull(blob, await token())
  const second = await startNode('second')
  await second.pull(blob, await token())
  expect(await second.bytesFromPeers()).toBe(blob.bytes)
  for (const node of [first, second]) expect(node.memory().peak).toBeLessThan(PEAK_MIB_MAX)
})

test('a client that reads slowly does not make a node hold in memory what it has not taken', async () => {
  const blob = await offer(256 * MIB)
  const node = await startNode('slow-reader')
  const { takenBytes } = await node.readSlowly(blob, await token(), { bytesPerSecond: MIB, seconds: 6 })
  expect(takenBytes).toBeGreaterThan(3 * MIB)
  expect(takenBytes).toBeLessThan(16 * MIB)
  expect(node.memory().peak).toBeLessThan(PEAK_MIB_MAX)
  const { now } = node.memory()
  await node.pull(blob, await token())
  expect(node.memory().peak - now).toBeLessThan(100)
})
