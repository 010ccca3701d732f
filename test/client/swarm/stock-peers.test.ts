import { expect, test } from 'vitest'
import { PeerAddresses } from '../../../client/peer/peer-addresses.ts'
import { SwarmLinks, type SwarmLinksOptions } from '../../../client/swarm/swarm-links.ts'
import { digestFromHex } from '../../../core/digest.ts'
import { type InfoHash, type NodeId, pieceLayout, type SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost } from '../../../core/repository.ts'
import type { Peer } from '../../../core/tracker-api.ts'
import { noteDefects } from '../../core/noted-defects.ts'

const nodePeer: Peer = { node: '1'.repeat(40) as NodeId, address: '192.0.2.1', port: 7071, isSeed: true }
const stockPeer: Peer = {
  ...nodePeer,
  node: '2'.repeat(40) as NodeId,
  infoHash: 'a'.repeat(40) as InfoHash,
}

/** Whom a downloading node dials of the two. */
function dialledWhere(needsProof: boolean): Peer[] {
  const dialled: Peer[] = []
  const options: Partial<Record<keyof SwarmLinksOptions, unknown>> = {
    node: '0'.repeat(40),
    ...noteDefects(),
    stored: {
      swarm: 'f'.repeat(40) as SwarmId,
      key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex('b'.repeat(64)) },
      layout: pieceLayout(1_000_000),
      isComplete: false,
    },
    admission: { needsProof: () => needsProof },
    isWanted: () => true,
    grant: () => ({ credential: {} }),
    addresses: new PeerAddresses(),
    links: { isLinked: () => false, mayUse: () => false, dialledCount: 0 },
    dial: (peer: Peer) => dialled.push(peer),
  }
  new SwarmLinks(options as unknown as SwarmLinksOptions).addPeers([nodePeer, stockPeer])
  return dialled
}

test('a stock client is dialled where no token is required', () => {
  expect(dialledWhere(false)).toEqual([nodePeer, stockPeer])
})

test('where tokens are required a stock client is not dialled, even when the tracker names one', () => {
  expect(dialledWhere(true)).toEqual([nodePeer])
})
