import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { PeerLostError, PeerOutdatedError, PeerProtocolError } from '../../../client/errors.ts'
import { Dials, type DialsHost } from '../../../client/swarm/dials.ts'
import type { NodeId } from '../../../core/metainfo.ts'
import type { Peer } from '../../../core/tracker-api.ts'

const NODE = 'a' as NodeId
const TICK_MS = 250
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** A downloading swarm that knows one peer, and whose dials all reach it. */
function setUp() {
  const dialledAtMs: number[] = []
  let isLinked = false
  const host = {
    isWanted: () => true,
    isUploadOnly: () => false,
    grant: () => ({ credential: {} }),
    isConnected: () => isLinked,
    linkCount: () => Number(isLinked),
    addresses: { isWorking: () => true, mayDial: () => true, dialled: () => {} },
    dial: () => dialledAtMs.push(Date.now()),
  } as unknown as DialsHost
  const dials = new Dials(host)
  dials.peers.add([{ node: NODE, address: '127.0.0.1', port: 1 } as Peer])
  const connect = () => {
    dials.connect()
    dials.ended(NODE)
    dials.peers.connected(NODE, Date.now())
    isLinked = true
  }
  const lose = (reason: Parameters<Dials['left']>[1]) => {
    isLinked = false
    dials.left(NODE, reason)
  }
  /** @returns after what time the peer was dialled again, in ticks of the swarm */
  const redialMs = () => {
    const [lostAtMs, before] = [Date.now(), dialledAtMs.length]
    for (let tick = 0; tick < 200; tick += 1) {
      connect()
      if (dialledAtMs.length > before) return Date.now() - lostAtMs
      isLinked = false
      vi.advanceTimersByTime(TICK_MS)
    }
    return Number.POSITIVE_INFINITY
  }
  return { dials, connect, lose, redialMs }
}

test.each([
  { name: 'whose certificate or key was withdrawn', reason: new PeerOutdatedError('withdrawn') },
  { name: 'that the other side broke', reason: new PeerLostError('reset') },
  { name: 'that the other side closed', reason: undefined },
])('the peer of a link $name is dialled again at once', ({ reason }) => {
  const { dials, connect, lose, redialMs } = setUp()
  connect()
  vi.advanceTimersByTime(5_000)
  lose(reason)
  expect(dials.reach).toBe('dialling')
  expect(redialMs()).toBe(0)
  // The other side had not renewed its own certificate when it was dialled.
  lose(reason)
  expect(dials.reach).toBe('dialling')
  expect(redialMs()).toBe(TICK_MS)
  lose(reason)
  expect(dials.reach).toBe('unreachable')
})

test('a peer that ends each link soon is dialled at most once a second', () => {
  const { connect, lose, redialMs } = setUp()
  connect()
  const pauses = Array.from({ length: 5 }, () => {
    lose(new PeerLostError('reset'))
    return redialMs()
  })
  expect(pauses).toEqual([250, 500, 1000, 1000, 1000])
})

test('a peer that broke the protocol is not dialled again at once', () => {
  const { connect, lose, redialMs } = setUp()
  connect()
  vi.advanceTimersByTime(5_000)
  lose(new PeerProtocolError('a frame too large'))
  expect(redialMs()).toBeGreaterThanOrEqual(1_000)
})

test('a peer that is dialled again counts as being dialled', () => {
  const { dials, connect, lose } = setUp()
  connect()
  lose(new PeerOutdatedError('withdrawn'))
  dials.again({ node: NODE, isDialler: true })
  expect(dials.reach).toBe('dialling')
})
