import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type { NodeLocation } from '../../core/location.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { enrol, type Member } from '../attacks/attacker.ts'
import { type SilentPort, silentPort } from './silent-peer.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from './test-cluster.ts'

/** Zones between which, or within which, nobody reaches anybody. */

const MIB = 1024 * 1024
const BLOB_BYTES = 8 * MIB
const CUT_OFF = 4
/** A heartbeat and a half: the tracker has heard where the node is. */
const TOLD_MS = 1_500
const EAST: NodeLocation = { zone: 'east', rack: '' }
const WEST: NodeLocation = { zone: 'west', rack: '' }

let cluster: TestCluster
let silent: SilentPort[] = []
let members: Member[] = []

afterEach(async () => {
  for (const { tracker } of members.splice(0)) await tracker.close()
  for (const port of silent.splice(0)) await port.close()
  await cluster?.close()
})

/** Nodes that the tracker lists as seeds there, and that nobody reaches. @returns what keeps them listed */
async function cutOff(location: NodeLocation): Promise<(blob: TestBlob) => Promise<void>> {
  silent = await Promise.all(Array.from({ length: CUT_OFF }, silentPort))
  members = await Promise.all(silent.map(() => enrol(cluster)))
  return async (blob) => {
    const swarm = swarmIdOf({ cluster: cluster.id as never, ...cluster.request(blob) })
    const listed = members.map((member, at) =>
      member.serve(silent[at]!.port, [swarm], WIRE_VERSION_LINKS, location),
    )
    await Promise.all(listed)
  }
}

const addNode = (location: NodeLocation) => cluster.addNode({ client: { location } })

async function pulled(node: TestNode, blob: TestBlob) {
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  const { bytesFromNear, bytesFromFar, bytesFromPeers, bytesFromRegistry } = progressOf(node, blob)
  return { bytesFromNear, bytesFromFar, bytesFromPeers, bytesFromRegistry }
}

test('a node whose whole zone is out of reach gets a blob from another zone, and counts it', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const list = await cutOff(EAST)
  const far = await addNode(WEST)
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await pulled(far, blob)
  const node = await addNode(EAST)
  await wait(TOLD_MS)
  await list(blob)
  expect(await pulled(node, blob)).toEqual({
    bytesFromNear: 0,
    bytesFromFar: BLOB_BYTES,
    bytesFromPeers: BLOB_BYTES,
    bytesFromRegistry: 0,
  })
  expect(node.client.status().moved).toMatchObject({ bytesFromNear: 0, bytesFromFar: BLOB_BYTES })
}, 30_000)

test('a zone that is cut off from the others fetches from the registry once, and then from its own nodes', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const list = await cutOff(WEST)
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const [one, two] = [await addNode(EAST), await addNode(EAST)]
  await wait(TOLD_MS)
  await list(blob)
  expect(await pulled(one!, blob)).toMatchObject({ bytesFromPeers: 0, bytesFromRegistry: BLOB_BYTES })
  await list(blob)
  expect(await pulled(two!, blob)).toEqual({
    bytesFromNear: BLOB_BYTES,
    bytesFromFar: 0,
    bytesFromPeers: BLOB_BYTES,
    bytesFromRegistry: 0,
  })
}, 30_000)

test('the tracker hears within a heartbeat that a running node stands elsewhere', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await addNode(EAST)
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pulled(node, blob)
  const asker = await enrol(cluster)
  members = [asker]
  const isFar = async () => {
    await asker.serve(9, [], WIRE_VERSION_LINKS, EAST)
    const { answer } = await asker.pull(cluster, blob)
    return answer.swarms[0]!.peers.map((peer) => peer.isFar)
  }
  await expect.poll(isFar, { timeout: 12_000, interval: 250 }).toEqual([false])
  node.client.limits.change({ trackerPatienceMs: 5_000, location: WEST })
  await expect.poll(isFar, { timeout: 12_000, interval: 250 }).toEqual([true])
}, 30_000)
