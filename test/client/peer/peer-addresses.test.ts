import { expect, test } from 'vitest'
import { ADDRESSES_MAX, PEER_FAILURE_MS, PeerAddresses } from '../../../client/peer/peer-addresses.ts'
import type { NodeId } from '../../../core/metainfo.ts'

const node = 'n'.repeat(40) as NodeId
const peer = { node, address: '192.0.2.1', port: 7071 }

test('an address works until a dial to it is late or fails', () => {
  const addresses = new PeerAddresses()
  expect([addresses.isWorking(peer), addresses.mayDial(peer, 0)]).toEqual([true, true])
  addresses.late(peer, 0)
  expect([addresses.isWorking(peer), addresses.mayDial(peer, 999)]).toEqual([false, false])
  expect(addresses.mayDial(peer, 1_000)).toBe(true)
})

test('a late dial that succeeds, or one now and then, makes it work again', () => {
  const addresses = new PeerAddresses()
  addresses.late(peer, 0)
  addresses.answered(peer)
  expect(addresses.isWorking(peer)).toBe(true)
})

test('after each failure the next dial of the whole node waits longer, up to half a minute', () => {
  const addresses = new PeerAddresses()
  const pauses = []
  for (let nowMs = 0, count = 0; count < 7; count += 1) {
    addresses.failed(peer, nowMs)
    let waitedMs = 0
    while (!addresses.mayDial(peer, nowMs + waitedMs)) waitedMs += 1_000
    pauses.push(waitedMs / 1_000)
    nowMs += waitedMs
  }
  expect(pauses).toEqual([1, 2, 4, 8, 16, 30, 30])
})

test('one swarm looks again, the others wait for what it finds', () => {
  const addresses = new PeerAddresses()
  addresses.failed(peer, 0)
  expect(addresses.mayDial(peer, 1_000)).toBe(true)
  addresses.dialled(peer, 1_000)
  expect(addresses.mayDial(peer, 1_001)).toBe(false)
})

test('an address that nobody dials any more is forgotten after ten minutes', () => {
  const addresses = new PeerAddresses()
  expect(addresses.failed(peer, 0)).toBe(601_000)
  addresses.forgetUnused(601_000)
  expect(addresses.isWorking(peer)).toBe(false)
  addresses.forgetUnused(601_001)
  expect(addresses.isWorking(peer)).toBe(true)
})

test('the table is bounded', () => {
  const addresses = new PeerAddresses()
  for (let port = 1; port <= ADDRESSES_MAX + 1; port += 1) addresses.failed({ ...peer, port }, 0)
  expect(addresses.isWorking({ ...peer, port: 1 })).toBe(true)
  expect(addresses.isWorking({ ...peer, port: 2 })).toBe(false)
})

test('a peer that refuses can be reached, and is dialled as before', () => {
  const addresses = new PeerAddresses()
  addresses.failed(peer, 0)
  addresses.refused(peer, 1)
  expect([addresses.isWorking(peer), addresses.mayDial(peer, 1)]).toEqual([true, true])
  addresses.failed(peer, 2)
  expect(addresses.mayDial(peer, 1_002)).toBe(true)
})

test('the status counts each peer by its last failure, for five minutes and while it is not connected', () => {
  const addresses = new PeerAddresses()
  const nobody = new Set<NodeId>()
  addresses.late({ ...peer, port: 1 }, 0)
  addresses.refused({ ...peer, port: 2 }, 0)
  addresses.failed(peer, 0)
  addresses.failed(peer, 1)
  expect(addresses.failedLately(nobody, 1)).toEqual({ refused: 1, unreachable: 1 })
  expect(addresses.failedLately(new Set([node]), 1)).toEqual({ refused: 0, unreachable: 0 })
  expect(addresses.failedLately(nobody, PEER_FAILURE_MS)).toEqual({ refused: 0, unreachable: 1 })
  addresses.answered(peer)
  expect(addresses.failedLately(nobody, 1)).toEqual({ refused: 1, unreachable: 0 })
})

test('an address whose node has dialled this one is dialled again a moment after the last failure, no sooner', () => {
  const addresses = new PeerAddresses()
  for (let count = 0; count < 6; count += 1) addresses.failed(peer, 0)
  expect(addresses.mayDial(peer, 10_000)).toBe(false)
  addresses.returned(peer)
  expect([addresses.mayDial(peer, 249), addresses.mayDial(peer, 250)]).toEqual([false, true])
  addresses.failed(peer, 10_000)
  addresses.returned(peer)
  expect(addresses.mayDial(peer, 10_001)).toBe(false)
})
