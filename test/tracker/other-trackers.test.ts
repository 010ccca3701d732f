import { beforeEach, expect, test } from 'vitest'
import { Defects } from '../../core/defects.ts'
import { createLog } from '../../core/log.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import { Revocations } from '../../tracker/authority/revocations.ts'
import type { TrackersNews } from '../../tracker/store/changes.ts'
import type { MemoryChange } from '../../tracker/store/memory.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { MEET_PATIENCE_MS, OtherTrackers, PRESENCES_TOLD_MAX } from '../../tracker/swarm/other-trackers.ts'
import { PeerTables } from '../../tracker/swarm/peer-tables.ts'

const CLUSTER = `c${'1'.repeat(16)}` as ClusterId
const SWARM = 'a'.repeat(40) as SwarmId
const HERE = '1'.repeat(40) as NodeId
const THERE = '2'.repeat(40) as NodeId
const SILENT_MS = 15_000
const holds = [{ swarm: SWARM, isSeed: true }]
const log = createLog({ level: 'silent', name: 'test' })

let nowMs: number
let peers: PeerTables
let news: TrackersNews
let saved: MemoryChange[]
let save: () => Promise<void>
let others: OtherTrackers
beforeEach(async () => {
  nowMs = 1_000_000
  peers = new PeerTables(SILENT_MS)
  news = { cursor: 1, alive: ['other'], presences: [] }
  saved = []
  save = async () => {}
  const store = Object.assign(new SqliteStore(':memory:'), {
    isShared: true,
    meetTrackers: async () => news,
    saveMemory: async (change: MemoryChange) => {
      await save()
      saved.push(change)
    },
  })
  const defects = new Defects({ log, count: () => undefined })
  const revocations = await Revocations.load(store)
  others = new OtherTrackers({ store, peers, revocations, log, defects, nowMs: () => nowMs }, SILENT_MS)
})

const presence = (node: NodeId, changes = {}) => ({
  ...{
    cluster: CLUSTER,
    node,
    address: '10.0.0.2',
    port: 7,
    wire: 2,
    zone: '',
    rack: '',
    holds,
    tracker: 'other',
    ...changes,
  },
})
const beat = (node: NodeId) => {
  const contact = { node, address: '10.0.0.1', port: 7, wire: 2 }
  peers.of(CLUSTER).heartbeat(contact, { isFullInventory: true, holds, dropped: [] }, nowMs)
}
const listed = () =>
  peers
    .of(CLUSTER)
    .choose(SWARM, { asker: 'f'.repeat(40) as NodeId, random: () => 0, nowMs })
    .map(({ port }) => port)

test('a node of another tracker is listed while that tracker is alive, and for a silence after', async () => {
  news.presences = [presence(THERE)]
  await others.meet()
  news.presences = []
  for (let at = 0; at < 10; at += 1) {
    nowMs += SILENT_MS / 2
    await others.meet()
  }
  expect(listed()).toHaveLength(1)
  news.alive = []
  await others.meet()
  nowMs += SILENT_MS - 1
  expect(listed()).toHaveLength(1)
  nowMs += 1
  expect(listed()).toEqual([])
})

test('it goes when that tracker says so, and not when another one does', async () => {
  news.presences = [presence(THERE)]
  await others.meet()
  news.presences = [presence(THERE, { holds: [], tracker: 'third' })]
  await others.meet()
  expect(listed()).toHaveLength(1)
  news.presences = [presence(THERE, { holds: [] })]
  await others.meet()
  expect(listed()).toEqual([])
})

test('what another tracker knew of a node that talks to this one does not count', async () => {
  beat(HERE)
  news.presences = [presence(HERE, { holds: [] })]
  await others.meet()
  expect(listed()).toHaveLength(1)
})

test('what could not be told is told later, and the others are heard meanwhile', async () => {
  beat(HERE)
  news.presences = [presence(THERE)]
  save = async () => {
    throw new Error('the database is away')
  }
  await others.meet()
  expect(listed()).toHaveLength(2)
  expect(saved).toEqual([])
  save = async () => {}
  await others.meet()
  expect(saved.map(({ presences }) => presences.map(({ node }) => node))).toEqual([[HERE]])
})

test('few nodes are told at a time, so that none keeps the others waiting with what it claims', async () => {
  for (let at = 0; at < 2_000; at += 1) beat(at.toString(16).padStart(40, '0') as NodeId)
  await others.meet()
  expect(saved[0]!.presences).toHaveLength(PRESENCES_TOLD_MAX)
  for (let at = 0; at < 100; at += 1) await others.meet()
  expect(saved.flatMap(({ presences }) => presences).length).toBeLessThan(600)
  nowMs += 60_000
  for (let at = 0; at < 100; at += 1) await others.meet()
  expect(saved.flatMap(({ presences }) => presences).length).toBeGreaterThan(1_000)
})

test('a pull does not wait for a store that does not answer', async () => {
  beat(HERE)
  save = () => new Promise(() => {})
  const beganMs = performance.now()
  await others.meetSoon()
  expect(performance.now() - beganMs).toBeLessThan(MEET_PATIENCE_MS + 300)
})
