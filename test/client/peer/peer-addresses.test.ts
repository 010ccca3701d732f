import { expect, test } from 'vitest'
import { ADDRESSES_MAX, nameOf, PeerAddresses } from '../../../client/peer/peer-addresses.ts'

const peer = { address: '192.0.2.1', port: 7071 }

test('an address works until a dial to it is late or fails', () => {
  const addresses = new PeerAddresses()
  expect([addresses.isWorking(peer), addresses.mayDial(peer, 0)]).toEqual([true, true])
  addresses.late(peer, 0)
  expect([addresses.isWorking(peer), addresses.mayDial(peer, 1_999)]).toEqual([false, false])
  expect(addresses.mayDial(peer, 2_000)).toBe(true)
})

test('a late dial that succeeds, or one now and then, makes it work again', () => {
  const addresses = new PeerAddresses()
  expect(addresses.answered(peer)).toBe(false)
  addresses.late(peer, 0)
  expect(addresses.answered(peer)).toBe(true)
  expect(addresses.isWorking(peer)).toBe(true)
})

test('after each failure the next dial of the whole node waits longer, up to half a minute', () => {
  const addresses = new PeerAddresses()
  const pauses = []
  for (let nowMs = 0, count = 0; count < 7; count += 1) {
    expect(addresses.failed(peer, nowMs)).toBe(count === 0)
    let waitedMs = 0
    while (!addresses.mayDial(peer, nowMs + waitedMs)) waitedMs += 1_000
    pauses.push(waitedMs / 1_000)
    nowMs += waitedMs
  }
  expect(pauses).toEqual([2, 4, 8, 16, 30, 30, 30])
})

test('one swarm looks again, the others wait for what it finds', () => {
  const addresses = new PeerAddresses()
  addresses.failed(peer, 0)
  expect(addresses.mayDial(peer, 2_000)).toBe(true)
  addresses.dialled(peer, 2_000)
  expect(addresses.mayDial(peer, 2_001)).toBe(false)
})

test('an address that nobody dials any more is forgotten after ten minutes', () => {
  const addresses = new PeerAddresses()
  addresses.failed(peer, 0)
  expect(addresses.forgetUnused(600_000)).toEqual([])
  expect(addresses.forgetUnused(602_001)).toEqual([nameOf(peer)])
  expect(addresses.isWorking(peer)).toBe(true)
})

test('the table is bounded', () => {
  const addresses = new PeerAddresses()
  for (let port = 1; port <= ADDRESSES_MAX + 1; port += 1) addresses.failed({ ...peer, port }, 0)
  expect(addresses.isWorking({ ...peer, port: 1 })).toBe(true)
  expect(addresses.isWorking({ ...peer, port: 2 })).toBe(false)
})

test('an IPv6 address is named in brackets', () => {
  expect(nameOf({ address: '2001:db8::1', port: 7071 })).toBe('[2001:db8::1]:7071')
})
