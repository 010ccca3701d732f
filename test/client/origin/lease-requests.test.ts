import { expect, test } from 'vitest'
import { LeaseRequests, REQUEST_BYTES_MAX } from '../../../client/origin/lease-requests.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'

const MIB = 1024 * 1024
const PIECES = 100

/** Requests of a lease over a blob of 100 pieces of 1 MiB, of which the tracker knows all from the start. */
function requestsOf(
  nodes: number,
  { knownTo = PIECES, reach = 'none', isTrackerOff = false } = {},
): LeaseRequests {
  const view = {
    layout: { pieceCount: PIECES, pieceBytes: MIB, blobBytes: PIECES * MIB },
    have: new Bitfield(PIECES),
    isNeeded: () => true,
    place: () => ({ index: 0, of: nodes }),
    peersReach: () => reach,
    isTrackerOff: () => isTrackerOff,
  }
  return new LeaseRequests(view as never, { first: 0, end: PIECES, knownTo })
}

/** Reads request after request: each begins after `waitedMs` and then brings pieces. @returns their MiB */
function lengths(requests: LeaseRequests, waitedMs: number, pieceMs = 4): number[] {
  const all: number[] = []
  let nowMs = 0
  for (let next = requests.take({ nowMs }); next; next = requests.take({ nowMs })) {
    nowMs += waitedMs
    requests.answered({ waitedMs, atMs: nowMs })
    for (let piece = next.first; piece < next.end; piece += 1) {
      requests.reached(piece, nowMs)
      nowMs += pieceMs
    }
    requests.reached(next.end, nowMs)
    all.push(next.end - next.first)
  }
  return all
}

test('grow as long as answers begin at once', () => {
  expect(lengths(requestsOf(2), 1)).toEqual([2, 2, 4, 8, 16, 32, 36])
})

test('are a quarter of a second long where a node is alone, and no shorter than among others', () => {
  expect(lengths(requestsOf(1), 1, 25).slice(0, 3)).toEqual([2, 10, 10])
  expect(lengths(requestsOf(1), 1, 250).slice(0, 4)).toEqual([2, 2, 4, 8])
})

test('are worth the wait for their answers where a node is alone', () => {
  expect(lengths(requestsOf(1), 40)).toEqual([2, 32, 32, 34])
  expect(Math.max(...lengths(requestsOf(1), 10_000))).toBeLessThan(1.5 * (REQUEST_BYTES_MAX / MIB) + 1)
})

test('are no longer than among others where somebody is known', () => {
  expect(lengths(requestsOf(1, { reach: 'dialling' }), 40)).toEqual(lengths(requestsOf(2), 40))
})

test('stay short while the tracker does not know of them, and grow when it is off', () => {
  const sizes = lengths(requestsOf(1, { knownTo: 2 }), 40)
  expect([...new Set(sizes)]).toEqual([2])
  expect(lengths(requestsOf(2, { knownTo: 2, isTrackerOff: true }), 40)).toEqual(lengths(requestsOf(2), 40))
})

test('leave others their part, however slowly answers begin', () => {
  expect(lengths(requestsOf(2), 40)).toEqual(lengths(requestsOf(2), 1))
})
