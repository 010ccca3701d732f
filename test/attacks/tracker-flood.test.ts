import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newClusterSecrets, startWorld, type TestNode, type World } from '../tracker/test-tracker.ts'
import { kill, spawnTracker } from '../tracker/tracker-process.ts'
import type { Flood } from './flood.ts'
import { attackTest } from './ledger.ts'

/** Those who want to keep the tracker from answering: strangers, whoever has a join token, and a member. */
const FLOOD = fileURLToPath(new URL('flood.ts', import.meta.url))
const MIB = 2 ** 20
const SWARM = 'a'.repeat(40)
const FLOOD_MS = 6_000
/** The attackers' own start. */
const START_MS = 1_500
const BEAT_PAUSE_MS = 20
/** What an attack may add to an honest heartbeat, at p99. */
const ADDED_MS_MAX = 100
const ADDED_BYTES_MAX = 100 * MIB
const SILENT_BYTES_MAX = 384 * MIB
const JOINS_BURST_MAX = 150

/** A cluster with a tracker of its own as a process, and an honest member. */
interface Place {
  world: World
  tracker: ChildProcess
  honest: TestNode
  joinToken: string
}

/** What is attacked; and what is not, so that it tells how long a heartbeat takes on a machine as busy as that. */
let attacked: Place
let spared: Place

beforeAll(async () => {
  attacked = await startPlace()
  spared = await startPlace()
})
afterAll(async () => {
  for (const { tracker, world } of [attacked, spared]) {
    await kill(tracker)
    await world.close()
  }
})

async function startPlace(): Promise<Place> {
  const world = await startWorld({ tracker: { joinsBurstMax: JOINS_BURST_MAX, joinsPerHourMax: 60 } })
  const { cluster, joinTokenHash, joinToken } = newClusterSecrets()
  const tracker = await spawnTracker(world, { cluster, name: 'lab', joinTokenHash })
  const honest = world.newNode()
  await honest.join(joinToken)
  return { world, tracker, honest, joinToken }
}

async function beatMs({ honest }: Place): Promise<number> {
  const startedAtMs = performance.now()
  expect((await honest.heartbeat()).status).toBe(200)
  return performance.now() - startedAtMs
}

async function beatsFor(ms: number): Promise<{ attackedMs: number[]; sparedMs: number[] }> {
  const [attackedMs, sparedMs]: number[][] = [[], []]
  const endMs = performance.now() + ms
  while (performance.now() < endMs) {
    attackedMs!.push(await beatMs(attacked))
    sparedMs!.push(await beatMs(spared))
    await new Promise((resolve) => setTimeout(resolve, BEAT_PAUSE_MS))
  }
  return { attackedMs: attackedMs!, sparedMs: sparedMs! }
}

const p99 = (all: number[]) => all.sort((a, b) => a - b)[Math.floor(all.length * 0.99)]!

const cpuSeconds = () =>
  readFileSync(`/proc/${attacked.tracker.pid}/stat`, 'utf8')
    .split(') ')[1]!
    .split(' ')
    .slice(11, 13)
    .reduce((sum, ticks) => sum + Number(ticks) / 100, 0)

const memoryBytes = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${attacked.tracker.pid}/status`, 'utf8'))![1]) * 1024

function startFlood(changes: Omit<Flood, 'port' | 'ms'>) {
  const flood: Flood = { port: attacked.world.tracker.address.port, ms: START_MS + FLOOD_MS, ...changes }
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit']
  const child = spawn(process.execPath, [FLOOD, JSON.stringify(flood)], { stdio })
  return text(child.stdout).then((said) => JSON.parse(said) as Record<string, number>)
}

/** Heartbeats under the flood; `meanwhile` is done in the middle of it. */
async function withstand(
  flood: Omit<Flood, 'port' | 'ms'>,
  { meanwhile, bytesMax = ADDED_BYTES_MAX }: { meanwhile?: () => Promise<void>; bytesMax?: number } = {},
) {
  const [before, cpuBefore] = [memoryBytes(), cpuSeconds()]
  let peak = 0
  const watch = setInterval(() => {
    peak = Math.max(peak, memoryBytes())
  }, 50)
  const answers = startFlood(flood)
  await new Promise((resolve) => setTimeout(resolve, START_MS))
  const [{ attackedMs, sparedMs }] = await Promise.all([beatsFor(FLOOD_MS - START_MS), meanwhile?.()])
  const told = await answers
  clearInterval(watch)
  const added = Math.round((peak - before) / MIB)
  console.log(
    `${flood.kind} ${flood.path ?? ''}: p99 of ${attackedMs.length} heartbeats ${p99(attackedMs).toFixed(0)} ms,`,
    `elsewhere ${p99(sparedMs).toFixed(0)} ms; memory +${added} MiB;`,
    `${(cpuSeconds() - cpuBefore).toFixed(1)} s of processor time; ${JSON.stringify(told)}`,
  )
  expect(attacked.tracker.exitCode).toBeNull()
  expect(p99(attackedMs)).toBeLessThan(p99(sparedMs) + ADDED_MS_MAX)
  expect(peak - before).toBeLessThan(bytesMax)
  return told
}

attackTest('a stranger who sends bodies of 9 MiB has none of them read', async () => {
  const path = `/v1/swarms/${SWARM}/complete`
  const told = await withstand({ kind: 'bodies', atOnce: 60, path, bytes: 9 * MIB - 100 })
  expect(Object.keys(told)).not.toContain('200')
})

attackTest('a stranger who sends inventories without end has none of them read', async () => {
  await withstand({ kind: 'bodies', atOnce: 60, path: '/v1/heartbeat', bytes: 2 * MIB - 100 })
})

attackTest('a member who sends the largest bodies slows nobody down', async () => {
  const member = attacked.world.newNode()
  await member.join(attacked.joinToken)
  const flood = { path: '/v1/heartbeat', bytes: 2 * MIB - 100, identity: member.identity }
  const told = await withstand({ kind: 'bodies', atOnce: 60, ...flood })
  expect(Object.keys(told)).not.toContain('200')
})

attackTest('whoever holds 6,000 connections that say nothing keeps no new node out', async () => {
  const meanwhile = async () => {
    for (let at = 0; at < 3; at += 1) {
      const { status } = await attacked.world.newNode().join(attacked.joinToken)
      expect(status).toBe(200)
    }
  }
  // 15,000 new connections a second leave as many closed ones to the next collection of garbage.
  await withstand({ kind: 'silent', atOnce: 6_000 }, { meanwhile, bytesMax: SILENT_BYTES_MAX })
})

attackTest('whoever has the join token joins no more ids than one address may', async () => {
  const { joinToken, world } = attacked
  const file = join(world.dataDir, 'tracker.sqlite')
  const before = statSync(file).size
  const told = await withstand({ kind: 'joins', atOnce: 30, path: '/v1/nodes', joinToken })
  expect(told['200']).toBeLessThanOrEqual(JOINS_BURST_MAX)
  expect(told['429']).toBeGreaterThan(0)
  expect(statSync(file).size - before).toBeLessThan(MIB)
})

test('after all this the tracker serves its members', async () => {
  expect((await attacked.honest.pull()).status).toBe(200)
})
