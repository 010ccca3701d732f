import { expect, it } from 'vitest'
import { seededRandom } from '../../bench/sim/simulate.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import { FAR_PEERS_MAX, nearAndFar } from '../../tracker/handout/near-and-far.ts'
import { PULL_NODES_MAX } from '../../tracker/handout/pull-peers.ts'
import { PeerTable } from '../../tracker/swarm/peer-table.ts'
import { startWorld } from './test-tracker.ts'

const SWARM = 'a'.repeat(40) as SwarmId
const OTHER = 'b'.repeat(40) as SwarmId
const node = (at: number) => at.toString(16).padStart(40, '0') as NodeId

/** A table whose node number n is in the n-th of the zones; all are in one swarm. */
function tableOf(zones: readonly string[], held: readonly SwarmId[] = [SWARM]): PeerTable {
  const table = new PeerTable(60_000)
  for (const [at, zone] of zones.entries()) {
    const holds = held.map((swarm) => ({ swarm, isSeed: at % 2 === 0 }))
    const inventory = { isFullInventory: true, holds, dropped: [] }
    table.heartbeat({ node: node(at), address: '10.0.0.1', port: 1 + at, wire: 2, zone }, inventory, 0)
  }
  return table
}

/** Zones of those that the node hears of. */
function heardBy(table: PeerTable, zones: readonly string[], asker = 0, seed = 1): string[] {
  const peers = table.choose(SWARM, { asker: node(asker), random: seededRandom(seed), nowMs: 1 })
  const all = peers.map((peer) => zones[Number.parseInt(peer.node, 16)]!)
  expect(new Set(peers.map((peer) => peer.node)).size).toBe(peers.length)
  return all
}

const inZone = (zone: string, nodes: number) => Array.from({ length: nodes }, () => zone)
const count = (heard: readonly string[], zone: string) => heard.filter((it) => it === zone).length

it('a node hears mostly of others of its zone, and of a few far ones, in no order', () => {
  const zones = [...inZone('east', 100), ...inZone('west', 100), ...inZone('', 50)]
  const places = [1, 2, 3, 4, 5].flatMap((seed) => {
    const heard = heardBy(tableOf(zones), zones, 0, seed)
    expect(heard).toHaveLength(PULL_NODES_MAX)
    expect(count(heard, 'east')).toBe(PULL_NODES_MAX - FAR_PEERS_MAX)
    return heard.flatMap((zone, at) => (zone === 'east' ? [] : [at]))
  })
  expect(Math.min(...places)).toBeLessThan(12)
})

it('a cluster with one zone, or a node without one, hears as if there were none', () => {
  const peersOf = (zone: string, others: string) => {
    const table = tableOf([zone, ...inZone(others, 60)])
    return table.choose(SWARM, { asker: node(0), random: seededRandom(3), nowMs: 1 })
  }
  expect(peersOf('east', 'east')).toEqual(peersOf('', ''))
  expect(peersOf('', 'east')).toEqual(peersOf('', ''))
})

it('a node that is alone in its zone hears of as many as others do', () => {
  const zones = ['island', ...inZone('east', 100)]
  expect(heardBy(tableOf(zones), zones)).toHaveLength(PULL_NODES_MAX)
  const few = [...inZone('island', 5), ...inZone('east', 100)]
  const heard = heardBy(tableOf(few), few)
  expect([count(heard, 'island'), heard.length]).toEqual([4, PULL_NODES_MAX])
})

it('a zone that is alone again takes the places of the far ones too', () => {
  const zones = [...inZone('east', 60), 'west']
  const table = tableOf(zones)
  table.forget(node(60))
  const heard = heardBy(table, zones)
  expect([count(heard, 'east'), heard.length]).toEqual([PULL_NODES_MAX, PULL_NODES_MAX])
})

it('a blob that only far nodes hold is named with its holders, among many that are near', () => {
  const zones = [...inZone('east', 80), ...inZone('west', 80)]
  const table = tableOf(zones)
  const holder = { swarm: OTHER, isSeed: true }
  table.heartbeat(
    { node: node(159), address: '10.0.0.1', port: 9 },
    { isFullInventory: false, holds: [holder], dropped: [] },
    0,
  )
  for (const seed of [1, 2, 3]) {
    const asking = { asker: node(0), random: seededRandom(seed), nowMs: 1 }
    const [, rare] = table.chooseAll([SWARM, OTHER], asking)
    expect(rare!.map((peer) => peer.node)).toEqual([node(159)])
  }
})

it.each([0, 1, FAR_PEERS_MAX, 24])('never chooses more than %i', (max) => {
  const asked: number[] = []
  const { near, far } = nearAndFar(max, (_, wanted) => {
    asked.push(wanted)
    return Array.from({ length: wanted }, (__, at) => at)
  })
  expect(near.length + far.length).toBe(max)
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(0)
})

it('the tracker keeps a zone of strict form with the node, and says that it knows zones', async () => {
  const world = await startWorld()
  try {
    const told = await world.joined(await world.makeCluster())
    expect((await told.heartbeat({ zone: 'east-1' })).body).toMatchObject({ knowsZones: true })
    for (const zone of ['East', 'a b', '-east', 'e'.repeat(64), '', 7])
      expect((await told.heartbeat({ zone })).status, String(zone)).toBe(400)
  } finally {
    await world.close()
  }
})
