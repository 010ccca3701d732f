import { expect, test } from 'vitest'
import { OriginPlan, type OriginView, RUNS_MAX } from '../../../client/origin/origin-plan.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import type { PieceIndex, PieceLayout } from '../../../core/metainfo.ts'

const SECOND = 1000
const PIECES = 8
const NEVER = Number.POSITIVE_INFINITY
const FETCH_ALL = { do: 'fetch', first: 0, end: PIECES }
const ASK = { do: 'ask' }

/** A node without a piece, in a swarm where nobody offers one; what differs is said. */
function viewOf(differences: Partial<OriginView> = {}): OriginView {
  return {
    layout: { pieceCount: PIECES } as PieceLayout,
    have: new Bitfield(PIECES),
    position: () => 0,
    place: () => ({ at: 0, of: 1 }),
    isNeeded: () => true,
    isOutOfReach: () => true,
    hasUnrequested: () => false,
    peersIdleMs: () => NEVER,
    peersReach: () => 'linked',
    isTrackerOff: () => false,
    runsActive: () => 0,
    isReadingOn: () => false,
    isAsking: () => false,
    ...differences,
  }
}

function startedPlan(differences: Partial<OriginView> = {}): OriginPlan {
  const plan = new OriginPlan(viewOf(differences), 0)
  plan.start(0)
  return plan
}

const wait = { isLeased: false, status: 'cold', retryInMs: 500, peers: 0 } as const
const allPublished = { isLeased: false, status: 'claimed', retryInMs: null, peers: 3 } as const

test('nothing is decided before a reader arrives, after it left, and when the blob is whole', () => {
  expect(new OriginPlan(viewOf(), 0).next(60 * SECOND)).toBeUndefined()
  const left = startedPlan()
  left.stop()
  expect(left.next(60 * SECOND)).toBeUndefined()
  const whole = new Bitfield(PIECES)
  for (let piece = 0; piece < PIECES; piece++) whole.add(piece as PieceIndex)
  expect(startedPlan({ have: whole }).next(60 * SECOND)).toBeUndefined()
})

test('a node asks for a lease while some piece is out of reach and it has room for a run', () => {
  expect(startedPlan().next(0)).toEqual(ASK)
  expect(startedPlan({ isOutOfReach: () => false }).next(0)).toBeUndefined()
  expect(startedPlan({ isAsking: () => true }).next(0)).toBeUndefined()
  expect(startedPlan({ runsActive: () => RUNS_MAX - 1 }).next(0)).toEqual(ASK)
  expect(startedPlan({ runsActive: () => RUNS_MAX }).next(0)).toBeUndefined()
})

test('a blob that peers have by the grant costs no call, unless they give nothing or cannot be reached', () => {
  const held = (differences: Partial<OriginView> = {}) => {
    const plan = new OriginPlan(viewOf(differences), 0)
    plan.heldByPeers(0)
    plan.start(0)
    return plan
  }
  expect(held({ peersReach: () => 'dialling' }).next(SECOND)).toBeUndefined()
  expect(held().next(2 * SECOND)).toEqual(ASK)
  expect(held({ peersReach: () => 'unreachable' }).next(0)).toEqual(ASK)
})

test('a node that reads on in one answer, or whose registry ignores ranges, fetches one run at a time', () => {
  expect(startedPlan({ runsActive: () => 1, isReadingOn: () => true }).next(0)).toBeUndefined()
  const plan = startedPlan({ runsActive: () => 1 })
  plan.rangeIgnored(0)
  expect(plan.next(0)).toBeUndefined()
})

test('a node fetches alone after three seconds without a byte, and after twenty with bytes but no piece', () => {
  const silent = startedPlan()
  expect(silent.next(3 * SECOND)).toEqual(ASK)
  expect(silent.next(3 * SECOND + 1)).toEqual(FETCH_ALL)
  const trickling = startedPlan({ peersIdleMs: () => 0 })
  expect(trickling.next(20 * SECOND)).toEqual(ASK)
  expect(trickling.next(20 * SECOND + 1)).toEqual(FETCH_ALL)
})

test('every piece restarts the timeout; one from a peer ends ALONE, one from the registry does not', () => {
  const plan = startedPlan()
  plan.pieceArrived('peer', 10 * SECOND)
  expect(plan.next(12 * SECOND)).toEqual(ASK)
  expect(plan.next(14 * SECOND)).toEqual(FETCH_ALL)
  plan.pieceArrived('registry', 14 * SECOND)
  expect(plan.next(14 * SECOND)).toEqual(FETCH_ALL)
  plan.pieceArrived('peer', 14 * SECOND)
  expect(plan.next(14 * SECOND)).toEqual(ASK)
})

test('a piece from a peer does not end ALONE while a piece is out of reach and will not be leased', () => {
  const plan = startedPlan()
  plan.answered(allPublished, 0)
  expect(plan.next(4 * SECOND)).toEqual(FETCH_ALL)
  plan.pieceArrived('peer', 4 * SECOND)
  expect(plan.next(4 * SECOND)).toEqual(FETCH_ALL)
})

test('"wait" counts for thirty seconds without a piece while the blob is cold, however often it is said', () => {
  const plan = startedPlan()
  plan.answered(wait, 0)
  plan.answered(wait, 25 * SECOND)
  expect(plan.next(29 * SECOND)).toEqual(ASK)
  expect(plan.next(30 * SECOND)).toEqual(FETCH_ALL)
})

test('a piece renews "wait" while the blob is cold, and a lease or a silent tracker ends it', () => {
  const plan = startedPlan()
  plan.answered(wait, 0)
  plan.pieceArrived('peer', 29 * SECOND)
  expect(plan.next(58 * SECOND)).toEqual(ASK)
  const leased = startedPlan()
  leased.answered(wait, 0)
  leased.answered({ ...wait, isLeased: true, retryInMs: null }, SECOND)
  expect(leased.next(4 * SECOND)).toEqual(FETCH_ALL)
  const silent = startedPlan()
  silent.answered(wait, 0)
  silent.callFailed({ isSilent: true }, SECOND)
  expect(silent.next(4 * SECOND)).toEqual(FETCH_ALL)
  const refused = startedPlan()
  refused.answered(wait, 0)
  refused.callFailed({ isSilent: false }, SECOND)
  expect(refused.next(4 * SECOND)).toEqual(ASK)
})

test('"wait" for a refetch counts for twelve seconds, whatever arrives meanwhile', () => {
  const plan = startedPlan({ peersIdleMs: () => 11 * SECOND })
  plan.answered({ ...allPublished, retryInMs: 500 }, 0)
  expect(plan.next(11 * SECOND)).toEqual(ASK)
  plan.pieceArrived('peer', 11 * SECOND)
  plan.answered({ ...allPublished, retryInMs: 500 }, 11 * SECOND)
  expect(plan.next(15 * SECOND)).toEqual(FETCH_ALL)
})

test('a node does not wait when every piece has a hash and nobody has or fetches the missing ones', () => {
  const plan = startedPlan()
  plan.answered({ ...allPublished, peers: 0 }, 0)
  expect(plan.next(1)).toEqual(FETCH_ALL)
})

test('the tracker is told which pieces are out of reach after 1.5 seconds without a byte, before the node fetches alone', () => {
  const plan = startedPlan()
  plan.answered(allPublished, 0)
  expect(plan.next(1.5 * SECOND)).toBeUndefined()
  expect(plan.awaited()).toBeUndefined()
  expect(plan.next(1.5 * SECOND + 1)).toEqual(ASK)
  expect(plan.awaited()).toEqual([{ firstPiece: 0, pieces: PIECES }])
  plan.answered({ ...allPublished, retryInMs: 500 }, 2 * SECOND)
  expect(plan.next(10 * SECOND)).toEqual(ASK)
})

test('calls that cannot yield a lease become rarer, and frequent again for the next reader', () => {
  const plan = startedPlan({ peersIdleMs: () => 0 })
  let now = 0
  const pauses = () => {
    plan.answered(allPublished, now)
    const from = now
    plan.pieceArrived('registry', now)
    while (!plan.mayCall(now)) now += SECOND
    return (now - from) / SECOND
  }
  expect([pauses(), pauses(), pauses(), pauses()]).toEqual([6, 12, 15, 15])
  plan.start(now)
  expect(pauses()).toBe(6)
})

test('after a refusal of the registry the next fetch waits a second', () => {
  const plan = startedPlan()
  plan.fetchFailed(4 * SECOND)
  expect(plan.next(4 * SECOND)).toBeUndefined()
  expect(plan.mayFollowLease(4 * SECOND)).toBe(false)
  expect(plan.next(5 * SECOND)).toEqual(FETCH_ALL)
})

test('readers are told ten seconds after fetches began to fail, unless a piece arrived in between', () => {
  const plan = startedPlan()
  expect(plan.isBroken(60 * SECOND)).toBe(false)
  plan.fetchFailed(SECOND)
  plan.fetchFailed(9 * SECOND)
  expect(plan.isBroken(11 * SECOND)).toBe(false)
  expect(plan.isBroken(12 * SECOND)).toBe(true)
  plan.pieceArrived('peer', 12 * SECOND)
  expect(plan.isBroken(60 * SECOND)).toBe(false)
})
test('where every known peer is unreachable the tracker is told at once which pieces are out of reach', () => {
  const plan = startedPlan({ peersReach: () => 'unreachable' })
  plan.answered(allPublished, 0)
  expect(plan.next(1)).toEqual(ASK)
  expect(plan.awaited()).toEqual([{ firstPiece: 0, pieces: PIECES }])
  // It leases them, or others fetch them.
  plan.answered({ ...allPublished, retryInMs: 500 }, 1)
  expect(plan.next(2 * SECOND)).toEqual(ASK)
  for (const reach of ['linked', 'dialling', 'none'] as const) {
    const waiting = startedPlan({ peersReach: () => reach })
    waiting.answered(allPublished, 0)
    expect(waiting.next(1)).toBeUndefined()
  }
})

test('while the tracker is off a node fetches at once what nobody offers, whatever it was told before', () => {
  let isTrackerOff = false
  const plan = startedPlan({ isTrackerOff: () => isTrackerOff })
  plan.answered({ ...wait, retryInMs: 60_000 }, 0)
  expect(plan.next(1)).toBeUndefined()
  isTrackerOff = true
  expect(plan.next(2)).toEqual(FETCH_ALL)
})

test('while the tracker is off a node waits for what peers offer, and for a dial that has just begun', () => {
  const offered = startedPlan({ isTrackerOff: () => true, isOutOfReach: () => false })
  expect(offered.next(1)).toBeUndefined()
  const dialling = startedPlan({ isTrackerOff: () => true, peersReach: () => 'dialling' })
  expect(dialling.next(1)).toEqual(ASK)
})

test('a node that waits asks again half a second after it lost a peer, whatever the tracker said; any other keeps its pause', () => {
  const plan = startedPlan()
  plan.answered({ ...wait, retryInMs: 5_000 }, 0)
  plan.peerLost(SECOND)
  expect(plan.next(1.5 * SECOND - 1)).toBeUndefined()
  expect(plan.next(1.5 * SECOND)).toEqual(ASK)
  // A later loss makes nobody wait longer.
  plan.peerLost(1.5 * SECOND)
  expect(plan.next(1.5 * SECOND)).toEqual(ASK)
  const held = startedPlan()
  held.answered(allPublished, 0)
  held.peerLost(0)
  expect(held.next(SECOND)).toBeUndefined()
})
