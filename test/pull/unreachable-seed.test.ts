import { connect } from 'node:net'
import pino from 'pino'
import { afterEach, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { enrol, type Member } from '../attacks/attacker.ts'
import { type SilentPort, silentPort } from './silent-peer.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
} from './test-cluster.ts'

/** The only seed of a blob is behind a firewall that drops what comes. */

const MIB = 1024 * 1024
const LAYERS = 4
/** Before: 1.5 s for each layer. */
const PULL_MS_MAX = 1_400
/** Of the first image's time; it takes half. One that waits for the port anew takes as long as the first. */
const NEXT_SHARE_MAX = 0.8

let cluster: TestCluster
let seed: Member
let silent: SilentPort

afterEach(async () => {
  await cluster?.close()
  await seed?.tracker.close()
  await silent?.close()
})

/** Blobs whose hashes are published, and whose only holder cannot be reached. */
async function startBehindFirewall(): Promise<{ layers: TestBlob[]; conditions: Conditions }> {
  silent = await silentPort()
  cluster = await startTestCluster({ nodes: 1 })
  const layers = Array.from({ length: 2 * LAYERS }, () => cluster.registry.add(randomBlob(2 * MIB).bytes))
  for (const layer of layers) await pull(cluster.nodes[0]!, cluster.request(layer))
  await cluster.nodes[0]!.stop()
  seed = await enrol(cluster)
  const swarms = layers.map((layer) => swarmIdOf({ cluster: seed.cluster, ...cluster.request(layer) }))
  await seed.serve(silent.port, swarms)
  // The tracker forgets the first holder, which misses its heartbeats.
  await expect
    .poll(
      async () => {
        await seed.serve(silent.port, swarms)
        const { answer } = await seed.pull(cluster, layers[0]!)
        return answer.swarms[0]!.peers.length
      },
      { timeout: 10_000, interval: 300 },
    )
    .toBe(0)
  // The pulls above said another port.
  await seed.serve(silent.port, swarms)
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  await cluster.addNode({ name: 'late', client: { conditions } })
  return { layers, conditions }
}

test('the port drops what comes to it', async () => {
  silent = await silentPort()
  const socket = connect(silent.port, '127.0.0.1')
  const outcome = await Promise.race([
    new Promise((resolve) => socket.once('connect', () => resolve('connected'))),
    new Promise((resolve) => socket.once('error', () => resolve('refused'))),
    new Promise((resolve) => setTimeout(resolve, 800, 'nothing')),
  ])
  socket.destroy()
  expect(outcome).toBe('nothing')
})

test('a closed port at the only seed costs one image a moment, and the next nothing', async () => {
  const { layers, conditions } = await startBehindFirewall()
  const node = cluster.nodes[0]!
  const pullAll = async (blobs: TestBlob[]) => {
    const startedAtMs = performance.now()
    const pulled = await Promise.all(blobs.map((blob) => pull(node, cluster.request(blob))))
    expect(pulled.map((bytes, at) => bytes.equals(blobs[at]!.bytes))).toEqual(blobs.map(() => true))
    return performance.now() - startedAtMs
  }
  const firstMs = await pullAll(layers.slice(0, LAYERS))
  expect(firstMs).toBeLessThan(PULL_MS_MAX)
  expect(await pullAll(layers.slice(LAYERS))).toBeLessThan(NEXT_SHARE_MAX * firstMs)
  expect(progressOf(node, layers[0]!).bytesFromRegistry).toBe(2 * MIB)
  const unreachable = () => conditions.list().map(({ code, subject }) => [code, subject])
  await expect
    .poll(unreachable, { timeout: 8_000 })
    .toEqual([['PEERS_UNREACHABLE', `127.0.0.1:${silent.port}`]])
}, 60_000)
