import type { IncomingMessage } from 'node:http'
import pino from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { BlobRequest } from '../../client/client.ts'
import { GONE_AFTER_MS } from '../../client/membership/tracker-state.ts'
import { Conditions } from '../../core/conditions.ts'
import { type FreezablePort, freezablePort } from './freezable-port.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** A tracker that is frozen, powered off or behind a firewall: nothing is refused, nothing is answered. */

const LAYERS = 60
const LAYER_BYTES = 400_000
/** What the node's own work may cost on a busy machine. */
const WORK_MS = 500

let cluster: TestCluster
let tracker: FreezablePort
let logged: string[]
let conditions: Conditions

afterEach(async () => {
  await cluster?.close()
  await tracker?.close()
})

async function startNode(options: Partial<Parameters<typeof startTestCluster>[0]> = {}): Promise<TestNode> {
  cluster = await startTestCluster({ nodes: 0, ...options })
  tracker = await freezablePort(cluster.tracker.address.port)
  logged = []
  conditions = new Conditions({ log: pino({}, { write: (line: string) => void logged.push(line) }) })
  return cluster.addNode({
    client: { trackerUrl: `https://localhost:${tracker.port}`, trackerPatienceMs: 500, conditions },
  })
}

function image(layers = LAYERS): BlobRequest[] {
  const { credential } = cluster.request(randomBlob(1))
  return Array.from({ length: layers }, () =>
    cluster.request(cluster.registry.add(randomBlob(LAYER_BYTES).bytes), { credential }),
  )
}

/** As Docker does: three layers at a time. @returns the codes of those that go to the registry, and how long each took */
async function open(node: TestNode, layers: readonly BlobRequest[]) {
  const outcomes: { code: string; ms: number }[] = []
  const queue = layers.values()
  const worker = async () => {
    for (const layer of queue) {
      const startedAtMs = performance.now()
      const code = await pull(node, layer).then(
        () => 'shared',
        (error) => error.code as string,
      )
      outcomes.push({ code, ms: performance.now() - startedAtMs })
    }
  }
  await Promise.all([worker(), worker(), worker()])
  return outcomes
}

async function timed<Result>(work: Promise<Result>): Promise<{ result: Result; ms: number }> {
  const startedAtMs = performance.now()
  const result = await work
  return { result, ms: performance.now() - startedAtMs }
}

/** Whether the caller may have the blob, by either method; not what a node reads of it. */
const isQuestion = ({ method, headers }: IncomingMessage) =>
  method === 'HEAD' || headers.range === 'bytes=0-0'

const isSilent = () => conditions.list().some(({ code }) => code === 'TRACKER_SILENT')

test('one pull finds the tracker silent, in two seconds for all its layers; the next waits for nothing', async () => {
  const node = await startNode()
  tracker.freeze()
  const first = await timed(open(node, image()))
  expect(first.result).toHaveLength(LAYERS)
  expect(new Set(first.result.map(({ code }) => code))).toEqual(new Set(['TRACKER_UNAVAILABLE']))
  expect(first.ms).toBeLessThan(2_000 + WORK_MS)
  const next = await timed(open(node, image()))
  expect(new Set(next.result.map(({ code }) => code))).toEqual(new Set(['TRACKER_UNAVAILABLE']))
  expect(next.ms).toBeLessThan(WORK_MS)
  expect(isSilent()).toBe(true)
  // What is not here need not be asked for.
  await expect(node.client.whyNotOpen(image(1)[0]!)).resolves.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  // One line at the change, none for a layer.
  expect(logged.filter((line) => line.includes('TRACKER_SILENT'))).toHaveLength(1)
})

test('a missing heartbeat shows that the tracker is silent, before any pull', async () => {
  const node = await startNode()
  tracker.freeze()
  await expect.poll(isSilent, { timeout: 8_000, interval: 50 }).toBe(true)
  const { result, ms } = await timed(open(node, image()))
  expect(new Set(result.map(({ code }) => code))).toEqual(new Set(['TRACKER_UNAVAILABLE']))
  expect(ms).toBeLessThan(WORK_MS)
})

test('a tracker that is back is used again after one heartbeat', async () => {
  const node = await startNode()
  tracker.freeze()
  const [layer] = image(1)
  await expect(node.client.open(layer!)).rejects.toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  tracker.thaw()
  await expect.poll(isSilent, { timeout: 8_000, interval: 50 }).toBe(false)
  expect(await open(node, [layer!])).toMatchObject([{ code: 'shared' }])
})

test('a pause shorter than two seconds costs that pause, and sharing goes on', async () => {
  const node = await startNode()
  const layers = image(6)
  tracker.freeze()
  setTimeout(() => tracker.thaw(), 1_500)
  const { result, ms } = await timed(open(node, layers))
  expect(result.map(({ code }) => code)).toEqual(layers.map(() => 'shared'))
  expect(ms).toBeLessThan(1_500 + 3 * WORK_MS)
  expect(isSilent()).toBe(false)
})

test('a running pull does not wait for each layer when its tracker falls silent', async () => {
  const node = await startNode({ configuresKeys: true })
  const layers = image()
  const { registry, repository, credential } = layers[0]!
  node.client.plan({ registry, repository, credential, blobs: layers })
  const [first, ...others] = layers
  expect(await open(node, [first!])).toMatchObject([{ code: 'shared' }])
  tracker.freeze()
  const { result, ms } = await timed(open(node, others))
  expect(await node.client.whyNotOpen(others[0]!)).toBeUndefined()
  // The grant covers them: the node reads them from the registry, piece by piece, without the tracker.
  expect(result.map(({ code }) => code)).toEqual(others.map(() => 'shared'))
  expect(ms).toBeLessThan(GONE_AFTER_MS + 4 * WORK_MS)
  expect(progressOf(node, { digest: others[0]!.digest } as never).bytesFromRegistry).toBe(LAYER_BYTES)
})

test('a registry that is slow to answer the tracker is not taken for a silent tracker', async () => {
  const node = await startNode()
  const [layer, later] = image(2)
  const { door } = cluster.registry
  cluster.registry.door = async (request, response) => {
    if (isQuestion(request)) await new Promise((resolve) => setTimeout(resolve, 3_000))
    return door(request, response)
  }
  const { registry, repository, credential } = layer!
  node.client.plan({ registry, repository, credential, blobs: [layer!, later!] })
  const { ms } = await timed(expect(node.client.open(layer!)).rejects.toMatchObject({ code: 'GRANT_LATE' }))
  expect(ms).toBeLessThan(500 + WORK_MS)
  // The next layer does not wait again, and the tracker is not blamed.
  const next = await timed(expect(node.client.open(later!)).rejects.toMatchObject({ code: 'GRANT_LATE' }))
  expect(next.ms).toBeLessThan(400)
  expect(conditions.list().map(({ code, subject }) => [code, subject])).toEqual([['REGISTRY_SLOW', registry]])
  cluster.registry.door = door
})

test('a grant that comes after its blob went to the registry gives its lease back at once', async () => {
  const node = await startNode({ leaseSeconds: 60 })
  const [layer] = image(1)
  const { door } = cluster.registry
  cluster.registry.door = async (request, response) => {
    if (isQuestion(request)) await new Promise((resolve) => setTimeout(resolve, 1_000))
    return door(request, response)
  }
  await expect(node.client.open(layer!)).rejects.toMatchObject({ code: 'GRANT_LATE' })
  cluster.registry.door = door
  const other = await cluster.addNode()
  // It would wait for the lease's minute.
  const { ms } = await timed(pull(other, layer!))
  expect(ms).toBeLessThan(8_000)
  expect(progressOf(other, { digest: layer!.digest } as never).bytesFromRegistry).toBe(LAYER_BYTES)
}, 30_000)

test('a node that is gone before its grant is ready leaves no lease behind', async () => {
  const node = await startNode({ leaseSeconds: 60 })
  const [layer] = image(1)
  const { door } = cluster.registry
  cluster.registry.door = async (request, response) => {
    if (isQuestion(request)) await new Promise((resolve) => setTimeout(resolve, 1_000))
    return door(request, response)
  }
  const opened = node.client.open(layer!).catch((error) => error.code)
  await new Promise((resolve) => setTimeout(resolve, 200))
  await node.stop()
  expect(['TRACKER_UNAVAILABLE', 'GRANT_LATE']).toContain(await opened)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  cluster.registry.door = door
  const other = await cluster.addNode()
  const { ms } = await timed(pull(other, layer!))
  expect(ms).toBeLessThan(2_000)
}, 30_000)
