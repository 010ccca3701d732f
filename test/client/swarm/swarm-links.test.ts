import { expect, test } from 'vitest'
import type { PeerLink } from '../../../client/peer/peer-link.ts'
import { SwarmLinks, type SwarmLinksOptions } from '../../../client/swarm/swarm-links.ts'
import { noteDefects } from '../../core/noted-defects.ts'

test('a swarm that waits for a send buffer waits once, however often peers ask for blocks meanwhile', () => {
  const waiting = new Set<() => void>()
  const links = new SwarmLinks({
    ...noteDefects(),
    stored: { layout: { pieceCount: 1 }, have: { count: 0 } },
    download: { addSource: () => ({}) },
    trust: { isRevoked: () => false },
    uploadLimit: { take: () => 0 },
    sendBuffers: { whenFree: (wake: () => void) => waiting.add(wake) },
  } as unknown as SwarmLinksOptions)
  const link = {
    node: 'a',
    claims: { node: 'a' },
    lane: {
      queue: [{ piece: 0, begin: 0, length: 1 }],
      piecesHad: () => 0,
      canWrite: () => true,
      serve: () => false,
    },
  } as unknown as PeerLink
  links.onOpen(link, { blockBytes: 1, requestsMax: 1, hasFast: true })
  for (let asked = 0; asked < 1000; asked++) links.onUploadWanted()
  expect(waiting.size).toBe(1)
})
