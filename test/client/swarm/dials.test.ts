import { expect, test } from 'vitest'
import { LINKS_DIALLED_ENOUGH } from '../../../client/peer/node-links.ts'
import { PeerAddresses } from '../../../client/peer/peer-addresses.ts'
import { DIALS_MAX, Dials, type DialsHost } from '../../../client/swarm/dials.ts'
import { KnownPeers } from '../../../client/swarm/known-peers.ts'
import type { NodeId } from '../../../core/metainfo.ts'
import type { Peer } from '../../../core/tracker-api.ts'

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
    known.add(Array.from({ length: 30 }, (_, at) => ({ ...peers[(layer * STEP + at) % HOLDERS]!, ...changes })))
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
