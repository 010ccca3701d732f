import { expect, it } from 'vitest'
import { seededRandom } from '../../bench/sim/simulate.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import { FAR_PEERS_MAX, nearestFirst } from '../../tracker/handout/near-and-far.ts'
import { PULL_NODES_MAX } from '../../tracker/handout/pull-peers.ts'
import { PeerTable } from '../../tracker/swarm/peer-table.ts'
import { startWorld } from './test-tracker.ts'

const SWARM = 'a'.repeat(40) as SwarmId
const OTHER = 'b'.repeat(40) as SwarmId
const node = (at: number) => at.toString(16).padStart(40, '0') as NodeId

/** A table whose node number n is in the n-th of the places, as `zone` or `zone/rack`; all are in one swarm. */
function tableOf(places: readonly string[], held: readonly SwarmId[] = [SWARM]): PeerTable {
  const table = new PeerTable(60_000)
  for (const at of places.keys()) put(table, places, at, held)
  return table
}

function put(table: PeerTable, places: readonly string[], at: number, held: readonly SwarmId[]): void {
  const [zone = '', rack = ''] = places[at]!.split('/')
  const holds = held.map((swarm) => ({ swarm, isSeed: at % 2 === 0 }))
  const contact = { node: node(at), address: '10.0.0.1', port: 1 + at, wire: 2, zone, rack }
  table.heartbeat(contact, { isFullInventory: true, holds, dropped: [] }, 0)
}

/** Places of those that the node hears of. */
function heardBy(table: PeerTable, places: readonly string[], asker = 0, seed = 1): string[] {
  const peers = table.choose(SWARM, { asker: node(asker), random: seededRandom(seed), nowMs: 1 })
  const all = peers.map((peer) => places[Number.parseInt(peer.node, 16)]!)
  expect(new Set(peers.map((peer) => peer.node)).size).toBe(peers.length)
  return all
}

const inPlace = (place: string, nodes: number) => Array.from({ length: nodes }, () => place)
const count = (heard: readonly string[], place: string) => heard.filter((it) => it === place).length

it('a node hears mostly of others of its zone, and of a few far ones, in no order', () => {
  const zones = [...inPlace('east', 100), ...inPlace('west', 100), ...inPlace('', 50)]
  const places = [1, 2, 3, 4, 5].flatMap((seed) => {
    const heard = heardBy(tableOf(zones), zones, 0, seed)
    expect(heard).toHaveLength(PULL_NODES_MAX)
    expect(count(heard, 'east')).toBe(PULL_NODES_MAX - FAR_PEERS_MAX)
    return heard.flatMap((zone, at) => (zone === 'east' ? [] : [at]))
  })
  expect(Math.min(...places)).toBeLessThan(12)
})

it('a node hears of its rack first, then of its zone, then of others', () => {
  const rackmates = 9
  const places = [
    ...inPlace('east/r1', 1 + rackmates),
    ...inPlace('east/r2', 60),
    ...inPlace('east', 40),
    // Racks of other zones have the same names.
    ...inPlace('west/r1', 100),
  ]
  const heard = heardBy(tableOf(places), places)
  expect(count(heard, 'east/r1')).toBe(rackmates)
  expect(count(heard, 'west/r1')).toBe(FAR_PEERS_MAX)
  expect(heard).toHaveLength(PULL_NODES_MAX)
  const large = [...inPlace('east/r1', 60), ...inPlace('east/r2', 60), ...inPlace('west/r1', 60)]
  const ofLarge = heardBy(tableOf(large), large)
  expect(['east/r1', 'east/r2', 'west/r1'].map((place) => count(ofLarge, place))).toEqual([
    PULL_NODES_MAX - 2 * FAR_PEERS_MAX,
    FAR_PEERS_MAX,
    FAR_PEERS_MAX,
  ])
})

it('a node finds the few of its rack, and a small zone its own, among thousands of holders', () => {
  const places = [...inPlace('east/r1', 10), ...inPlace('east/r2', 190), ...inPlace('west', 5_000)]
  const table = tableOf(places)
  const heard = heardBy(table, places)
  expect(count(heard, 'east/r1')).toBe(9)
  expect(count(heard, 'west')).toBe(FAR_PEERS_MAX)
})

it('says of each peer whether it is in another zone, to nodes that have one', () => {
  const places = [...inPlace('east/r1', 30), ...inPlace('east/r2', 30), ...inPlace('west', 30), '']
  const table = tableOf(places)
  const heard = (asker: number) =>
    table.choose(SWARM, { asker: node(asker), random: seededRandom(1), nowMs: 1 })
  for (const peer of heard(0))
    expect(peer.isFar).toBe(!places[Number.parseInt(peer.node, 16)]!.startsWith('east'))
  expect(heard(90).map(({ isFar }) => isFar)).toEqual(heard(90).map(() => undefined))
})

it('a cluster with one zone, or a node without one, hears as if there were none', () => {
  const peersOf = (zone: string, others: string) => {
    const table = tableOf([zone, ...inPlace(others, 60)])
    const peers = table.choose(SWARM, { asker: node(0), random: seededRandom(3), nowMs: 1 })
    return peers.map((peer) => peer.node)
  }
  expect(peersOf('east', 'east')).toEqual(peersOf('', ''))
  expect(peersOf('east/r1', 'east/r1')).toEqual(peersOf('', ''))
  expect(peersOf('', 'east')).toEqual(peersOf('', ''))
})

it('a node that is alone in its zone hears of as many as others do', () => {
  const zones = ['island', ...inPlace('east', 100)]
  expect(heardBy(tableOf(zones), zones)).toHaveLength(PULL_NODES_MAX)
  const few = [...inPlace('island', 5), ...inPlace('east', 100)]
  const heard = heardBy(tableOf(few), few)
  expect([count(heard, 'island'), heard.length]).toEqual([4, PULL_NODES_MAX])
})

it('a zone that is alone again takes the places of the far ones too', () => {
  const zones = [...inPlace('east', 60), 'west']
  const table = tableOf(zones)
  table.forget(node(60))
  const heard = heardBy(table, zones)
  expect([count(heard, 'east'), heard.length]).toEqual([PULL_NODES_MAX, PULL_NODES_MAX])
})

it('a node that moves to another zone hears of that one from its next heartbeat on', () => {
  const places = [...inPlace('east', 60), ...inPlace('west', 60)]
  const table = tableOf(places)
  places[0] = 'west'
  put(table, places, 0, [SWARM])
  expect(count(heardBy(table, places), 'west')).toBe(PULL_NODES_MAX - FAR_PEERS_MAX)
  // A heartbeat that names no place leaves the node where it was.
  const inventory = { isFullInventory: false, holds: [], dropped: [] }
  table.heartbeat({ node: node(0), address: '10.0.0.1', port: 1 }, inventory, 0)
  expect(count(heardBy(table, places), 'west')).toBe(PULL_NODES_MAX - FAR_PEERS_MAX)
})

it('a blob that only far nodes hold is named with its holders, among many that are near', () => {
  const zones = [...inPlace('east', 80), ...inPlace('west', 80)]
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

it.each([0, 1, FAR_PEERS_MAX, 24].flatMap((max) => [1, 2, 3].map((rings) => ({ max, rings }))))(
  'never chooses more than $max of $rings rings, and no less where there are enough',
  ({ max, rings }) => {
    const asked: number[] = []
    const chosen = nearestFirst(max, rings, (_, wanted) => {
      asked.push(wanted)
      return Array.from({ length: wanted }, (__, at) => at)
    })
    expect(chosen).toHaveLength(max)
    for (const wanted of asked) expect(wanted).toBeGreaterThan(0)
  },
)

it('the tracker takes a location of strict form, and says that it knows locations', async () => {
  const world = await startWorld()
  try {
    const told = await world.joined(await world.makeCluster())
    const answer = await told.heartbeat({ location: { zone: 'east-1', rack: '' } })
    expect(answer.body).toMatchObject({ knowsLocations: true })
    for (const zone of ['East', 'a b', '-east', 'e'.repeat(64), 7])
      expect((await told.heartbeat({ location: { zone, rack: '' } })).status, String(zone)).toBe(400)
    expect((await told.heartbeat({ location: { zone: 'east', rack: 'r1', row: '3' } })).status).toBe(400)
  } finally {
    await world.close()
  }
})
