import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { StoreConflictError } from '../../tracker/errors.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import {
  GoneHolders,
  HOLDER_LOOK_REST_MS,
  HOLDER_LOOKS_AT_ONCE_MAX,
  HOLDER_SILENT_MS,
} from '../../tracker/swarm/gone-holders.ts'
import { PeerTables } from '../../tracker/swarm/peer-tables.ts'
import { startWorld, type TestCluster, type TestNode, type World } from './test-tracker.ts'

let world: World
let lab: TestCluster
let holder: TestNode
let waiting: TestNode
let port: Server
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.close())
beforeEach(async () => {
  world.clockOffsetMs = 0
  lab = await world.makeCluster()
  holder = await world.joined(lab)
  waiting = await world.joined(lab)
  port = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1')
  await once(port, 'listening')
})
afterEach(() => {
  vi.restoreAllMocks()
  port.close()
})

/** The holder has the blob's only lease, and the tracker has reached its port; the other node was told to wait. */
async function hold({ isReached = true } = {}) {
  const { port: listenPort } = port.address() as AddressInfo
  const granted = await holder.pull({ listenPort })
  const [{ swarm, lease }] = granted.body.swarms
  expect(lease).toMatchObject({ firstPiece: 0 })
  const beat = async () =>
    (await holder.heartbeat({ listenPort, isFullInventory: true, holds: [{ swarm, isSeed: false }] })).body
      .listing?.isReached
  if (isReached) await expect.poll(beat).toBe(true)
  const { body } = await waiting.pull()
  expect(body.swarms[0].lease).toBeNull()
  const ask = async () => (await waiting.hashes(swarm, { pull: body.pull, wantsLease: true })).body
  return { ask, beat, granted: granted.body, swarm, body }
}

const closePort = async () => {
  port.close()
  await once(port, 'close')
}

test('a holder whose port has closed keeps nobody waiting: its lease goes to the next that asks', async () => {
  const { ask } = await hold()
  await closePort()
  expect(await ask()).toMatchObject({ lease: null, retryInMs: 5_000 })
  world.clockOffsetMs += HOLDER_SILENT_MS
  expect(await ask()).toMatchObject({ lease: { firstPiece: 0 }, retryInMs: null })
})

test('a holder that is only slow keeps its lease', async () => {
  const { ask } = await hold()
  world.clockOffsetMs += HOLDER_SILENT_MS
  expect(await ask()).toMatchObject({ lease: null })
})

test('a port that the tracker never reached says nothing when it refuses', async () => {
  await closePort().catch(() => undefined)
  port = createServer().listen(0, '127.0.0.1')
  await once(port, 'listening')
  const { port: listenPort } = port.address() as AddressInfo
  await closePort()
  const [{ swarm, lease }] = (await holder.pull({ listenPort })).body.swarms
  expect(lease).not.toBeNull()
  const { body } = await waiting.pull()
  world.clockOffsetMs += HOLDER_SILENT_MS
  expect((await waiting.hashes(swarm, { pull: body.pull, wantsLease: true })).body.lease).toBeNull()
})

test('a node that has started again gives up what it had leased before, and nothing that it took a moment ago', async () => {
  const { ask, beat } = await hold()
  await beat()
  expect(await ask()).toMatchObject({ lease: null })
  world.clockOffsetMs += HOLDER_SILENT_MS
  await beat()
  expect(await ask()).toMatchObject({ lease: { firstPiece: 0 } })
})

test('a swarm that other trackers change all the time refuses no grant: it comes without a lease, and a later call gets one', async () => {
  vi.spyOn(SqliteStore.prototype, 'saveSwarm').mockRejectedValue(new StoreConflictError('another version'))
  const { status, body } = await holder.pull()
  expect([status, body.swarms[0].lease]).toEqual([200, null])
  const { swarm } = body.swarms[0]
  const ask = () => holder.hashes(swarm, { pull: body.pull, wantsLease: true })
  const busy = await ask()
  expect([busy.status, busy.body.error.code]).toEqual([429, 'SWARM_BUSY'])
  vi.restoreAllMocks()
  expect((await ask()).body.lease).toMatchObject({ firstPiece: 0 })
})

test('a holder is looked at once in a while, however many ask, and few at the same time', async () => {
  const cluster = `c${'1'.repeat(16)}` as ClusterId
  const nodeAt = (at: number) => at.toString(16).padStart(40, '0') as NodeId
  const peers = new PeerTables(1e9)
  let nowMs = 0
  const looked: ((isClosed: boolean) => void)[] = []
  const isClosed = () => new Promise<boolean>((resolve) => looked.push(resolve))
  const holders = new GoneHolders({ peers, nowMs: () => nowMs, isClosed })
  const nodes = Array.from({ length: HOLDER_LOOKS_AT_ONCE_MAX + 8 }, (_, at) => nodeAt(at))
  for (const node of nodes) {
    const at = { node, address: '10.0.0.1', port: 7071 }
    peers.of(cluster).heartbeat(at, { isFullInventory: true, holds: [], dropped: [] }, nowMs)
    peers.of(cluster).tried(node, at, true)
  }
  const both = [holders.among(cluster, new Set(nodes)), holders.among(cluster, new Set([nodes[0]!]))]
  expect(looked).toHaveLength(HOLDER_LOOKS_AT_ONCE_MAX)
  for (const [at, end] of looked.entries()) end(at === 0)
  expect(await Promise.all(both)).toEqual([new Set([nodes[0]]), new Set([nodes[0]])])
  nowMs += HOLDER_LOOK_REST_MS
  const again = holders.among(cluster, new Set([nodes[0]!]))
  looked.at(-1)!(false)
  expect(await again).toEqual(new Set())
})
