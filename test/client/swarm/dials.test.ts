import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { PeerLostError, PeerOutdatedError, PeerProtocolError } from '../../../client/errors.ts'
import { LINKS_DIALLED_ENOUGH } from '../../../client/peer/node-links.ts'
import { PeerAddresses } from '../../../client/peer/peer-addresses.ts'
import { DIALS_MAX, Dials, type DialsHost } from '../../../client/swarm/dials.ts'
import { KnownPeers } from '../../../client/swarm/known-peers.ts'
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
    links: { isLinked: () => false, mayUse: () => false, dialledCount: 0 },
    addresses: { isWorking: () => true, mayDial: () => true, dialled: () => {}, returned: () => {} },
    dial: () => dialledAtMs.push(Date.now()),
  } as unknown as DialsHost
  const dials = new Dials(new KnownPeers(), host)
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
  return { dials, dialledAtMs, connect, lose, redialMs }
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

test('a peer that dials this node after its own dials failed is dialled back at once', () => {
  const { dials, dialledAtMs, connect, lose } = setUp()
  connect()
  for (let failure = 0; failure < 6; failure += 1) dials.peers.postpone(NODE, Date.now())
  lose(new PeerProtocolError('a frame too large'))
  vi.advanceTimersByTime(TICK_MS)
  dials.connect()
  expect(dialledAtMs).toHaveLength(1)
  dials.returned(NODE)
  expect(dialledAtMs).toHaveLength(2)
  dials.returned('b' as NodeId)
  expect(dials.peers.size).toBe(1)
})

test('a peer that is dialled again counts as being dialled', () => {
  const { dials, connect, lose } = setUp()
  connect()
  lose(new PeerOutdatedError('withdrawn'))
  dials.again({ node: NODE, isDialler: true })
  expect(dials.reach).toBe('dialling')
})

const HOLDERS = 200
const LAYERS = 60
/** How many of its holders a layer does not share with the one before. */
const STEP = 17
const peers: Peer[] = Array.from({ length: HOLDERS }, (_, at) => ({
  node: at.toString(16).padStart(40, '0') as NodeId,
  address: '192.0.2.1',
  port: 1000 + at,
  isSeed: true,
  wire: 2,
}))

/** Layers of an image, each of which hears of thirty holders of its own; links are shared, and every dial succeeds. */
function dialImage(changes: Partial<Peer> = {}): { linked: Set<NodeId>; perLayer: number[] } {
  const linked = new Set<NodeId>()
  const perLayer = Array.from({ length: LAYERS }, (_, layer) => {
    const connected = new Set<NodeId>()
    const host = {
      isWanted: () => true,
      isUploadOnly: () => false,
      grant: () => ({ credential: {} }),
      isConnected: (node: NodeId) => connected.has(node),
      linkCount: () => connected.size,
      addresses: new PeerAddresses(),
      links: {
        isLinked: (node: NodeId) => linked.has(node),
        mayUse: ({ wire }: Peer) => wire === 2,
        get dialledCount() {
          return linked.size
        },
      },
      dial(peer: Peer) {
        if (peer.wire === 2) linked.add(peer.node)
        connected.add(peer.node)
        dials.ended(peer.node)
      },
    } as unknown as DialsHost
    const known = new KnownPeers()
    known.add(
      Array.from({ length: 30 }, (_, at) => ({ ...peers[(layer * STEP + at) % HOLDERS]!, ...changes })),
    )
    const dials = new Dials(known, host)
    dials.connect()
    return connected.size
  })
  return { linked, perLayer }
}

test(`an image of ${LAYERS} layers with ${HOLDERS} holders uses some ${LINKS_DIALLED_ENOUGH} links, and each layer has one`, () => {
  const { linked, perLayer } = dialImage()
  // A layer none of whose holders is linked dials one more, and the next layers use it too.
  expect(linked.size).toBeGreaterThanOrEqual(LINKS_DIALLED_ENOUGH)
  expect(linked.size).toBeLessThanOrEqual(LINKS_DIALLED_ENOUGH + HOLDERS / STEP)
  expect(Math.min(...perLayer)).toBeGreaterThan(0)
})

test('older nodes are dialled for each blob, whatever links there are', () => {
  const { linked, perLayer } = dialImage({ wire: 1 })
  expect(linked.size).toBe(0)
  expect(Math.min(...perLayer)).toBe(DIALS_MAX)
})
