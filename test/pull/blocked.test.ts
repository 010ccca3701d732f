import { afterEach, describe, expect, it } from 'vitest'
import type { BlobRequest } from '../../client/client.ts'
import type { Repository } from '../../core/repository.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** An operator blocks what leaked while nodes share it. */

const MIB = 2 ** 20
const OTHER = 'team/other' as Repository

let cluster: TestCluster | undefined
afterEach(async () => {
  await cluster?.close()
  cluster = undefined
})

const moved = (node: TestNode) => node.client.status().moved
const sentBy = (...nodes: TestNode[]) => nodes.reduce((sum, node) => sum + moved(node).bytesToPeers, 0)
const gotBy = (nodes: TestNode[]) => nodes.reduce((sum, node) => sum + moved(node).bytesFromPeers, 0)
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const holds = (node: TestNode, blob: TestBlob) =>
  node.client.cache.list().some(({ digest }) => digest === blob.digest)

async function block(what: object): Promise<string> {
  const { status, body } = await cluster!.admin('/admin/v1/blocks', { cluster: cluster!.id, ...what })
  expect(status).toBe(201)
  return (body as { block: { block: string } }).block.block
}

async function unblock(id: string): Promise<void> {
  expect((await cluster!.admin(`/admin/v1/blocks/${id}`, {}, 'DELETE')).status).toBe(200)
}

const imageOf = (repository: string) => `${cluster!.registry.config.host}/${repository}`
const throughOther = (blob: TestBlob) => {
  const token = cluster!.signer.sign(pullClaims(OTHER), { jwk: cluster!.signer.publicJwk })
  return cluster!.request(blob, { repository: OTHER, credential: { scheme: 'bearer', token } })
}

/** A reader that has its first bytes. @returns reads the rest, and says why that came from the registry */
async function begun(node: TestNode, request: BlobRequest) {
  const blob = await node.client.open(request)
  const chunks = blob.read(0, blob.bytes)[Symbol.asyncIterator]()
  await chunks.next()
  const fallback = async () => {
    while (!(await chunks.next()).done);
    blob.close()
    return blob.fallback
  }
  return { fallback }
}

/** A node with the blobs, whose uploads are slow from now on. */
async function slowHolder(blobs: readonly TestBlob[]): Promise<TestNode> {
  const holder = await cluster!.addNode({ name: 'holder' })
  for (const blob of blobs) await pull(holder, cluster!.request(blob))
  await expect.poll(() => blobs.every((blob) => progressOf(holder, blob).state === 'complete')).toBe(true)
  holder.client.limits.change({ uploadBytesPerSecondMax: 2 * MIB, trackerPatienceMs: 5000 })
  return holder
}

describe('a block', () => {
  it('cuts 16 running transfers within a heartbeat, with no byte after it; without it all is shared again', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    const blobs = Array.from({ length: 4 }, () => cluster!.registry.add(randomBlob(4 * MIB).bytes))
    const holder = await slowHolder(blobs)
    /** What had moved when a node obeyed: it is told of each heartbeat just before. */
    const beats = new Map<string, { atMs: number; bytes: number }[]>()
    const watched = async (name: string) => {
      const heard: { atMs: number; bytes: number }[] = []
      beats.set(name, heard)
      let own: TestNode | undefined
      const onTrackerPause = () =>
        queueMicrotask(() => own && heard.push({ atMs: Date.now(), bytes: moved(own).bytesFromPeers }))
      own = await cluster!.addNode({ name, client: { onTrackerPause } })
      return own
    }
    const nodes = await Promise.all(['a', 'b', 'c', 'd'].map(watched))
    const pulls = nodes.flatMap((node) => blobs.map((blob) => pull(node, cluster!.request(blob))))
    const isMoving = (node: TestNode) => (blob: TestBlob) => {
      const { state, bytesFromPeers } = progressOf(node, blob) ?? {}
      return state === 'downloading' && bytesFromPeers! > 0
    }
    const running = () => nodes.flatMap((node) => blobs.filter(isMoving(node))).length
    await expect.poll(running, { timeout: 20_000, interval: 20 }).toBe(16)

    const id = await block({ repository: imageOf(REPOSITORY) })
    const blockedAtMs = Date.now()
    const all = [holder, ...nodes]
    await expect
      .poll(() => all.flatMap((node) => node.client.cache.list()).length, { timeout: 5_000 })
      .toBe(0)
    // Heartbeats are a second apart, and vary by a tenth.
    expect(Date.now() - blockedAtMs).toBeLessThan(2_000)
    const [sent, got] = [sentBy(...all), gotBy(nodes)]
    const read = await Promise.all(pulls)
    for (const [at, bytes] of read.entries()) expect(bytes.equals(blobs[at % 4]!.bytes)).toBe(true)
    await sleep(1_500)
    expect(sentBy(...all) - sent).toBe(0)
    expect(gotBy(nodes) - got).toBe(0)
    for (const node of nodes) {
      const first = beats.get(node.name)!.find(({ atMs }) => atMs > blockedAtMs)!
      expect(moved(node).bytesFromPeers - first.bytes, node.name).toBe(0)
      expect(await node.client.whyNotOpen(cluster.request(blobs[0]!))).toMatchObject({ code: 'BLOCKED' })
    }

    await unblock(id)
    const [one, two] = [nodes[0]!, nodes[1]!]
    const isShared = async () => (await one.client.whyNotOpen(cluster!.request(blobs[0]!))) === undefined
    await expect.poll(isShared, { timeout: 5_000 }).toBe(true)
    await expect
      .poll(async () => (await two.client.whyNotOpen(cluster!.request(blobs[0]!))) === undefined)
      .toBe(true)
    await pull(one, cluster.request(blobs[0]!))
    const before = moved(two).bytesFromPeers
    await pull(two, cluster.request(blobs[0]!))
    expect(moved(two).bytesFromPeers - before).toBe(4 * MIB)
  })

  it('of a repository leaves the blob to those who are granted it through another', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
    const [one, two, three] = [await cluster.addNode(), await cluster.addNode(), await cluster.addNode()]
    await pull(one, throughOther(blob))
    await pull(two, cluster.request(blob))
    const reading = await begun(one, cluster.request(blob))
    await block({ repository: imageOf(REPOSITORY) })
    await expect.poll(() => holds(two, blob), { timeout: 5_000 }).toBe(false)
    expect(holds(one, blob)).toBe(true)
    await expect.poll(async () => (await one.client.whyNotOpen(cluster!.request(blob)))?.code).toBe('BLOCKED')
    expect(await reading.fallback()).toBe('BLOCKED')
    const known = async () => (await three.client.whyNotOpen(cluster!.request(blob)))?.code
    await expect.poll(known, { timeout: 5_000 }).toBe('BLOCKED')
    const atRegistry = cluster.registry.sentBytes.get(blob.digest)
    expect((await pull(three, throughOther(blob))).equals(blob.bytes)).toBe(true)
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(atRegistry)
    await expect(three.client.open(cluster.request(blob))).rejects.toMatchObject({ code: 'BLOCKED' })
  })

  it('of a blob counts in every repository, for what is read as well, and after a restart before the tracker answers', async () => {
    cluster = await startTestCluster({ nodes: 0 })
    const [blob, free] = [4, 4].map((mib) => cluster!.registry.add(randomBlob(mib * MIB).bytes))
    const node = await cluster.addNode({ name: 'node' })
    await pull(node, throughOther(blob!))
    await pull(node, cluster.request(free!))
    const reading = await begun(node, throughOther(blob!))
    const atRegistry = cluster.registry.sentBytes.get(blob!.digest)!
    await block({ digest: blob!.digest })
    await expect.poll(() => holds(node, blob!), { timeout: 5_000 }).toBe(false)
    expect(await reading.fallback()).toBe('BLOCKED')
    expect(cluster.registry.sentBytes.get(blob!.digest)).toBeGreaterThan(atRegistry)
    expect(holds(node, free!)).toBe(true)
    await node.stop()
    await cluster.stopTracker()
    const again = await cluster.addNode({ name: 'node' })
    expect(await again.client.whyNotOpen(throughOther(blob!))).toMatchObject({ code: 'BLOCKED' })
    await expect(again.client.open(cluster.request(blob!))).rejects.toMatchObject({ code: 'BLOCKED' })
  })
})
