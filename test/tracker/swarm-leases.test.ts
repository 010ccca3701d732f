import { describe, expect, it } from 'vitest'
import type { NodeId } from '../../core/metainfo.ts'
import { BEGIN_MS_MIN, LATE_TIMES, SILENT_MS_MIN } from '../../tracker/handout/late-holders.ts'
import { farHalf, firstFreeRun, type LeasePolicy, oneReader } from '../../tracker/handout/leases.ts'
import { emptyChange, type LeaseRecord } from '../../tracker/store/store.ts'
import { Refetches } from '../../tracker/swarm/refetches.ts'
import { LEASES_PER_NODE_MAX, SwarmLeases } from '../../tracker/swarm/swarm-leases.ts'

const LEASE_MS = 9_000
const MIB = 1024 * 1024
const nodeNamed = (digit: string) => digit.repeat(40) as NodeId

function makeLeases(fetchersOf?: (piece: number) => number, policy: LeasePolicy = firstFreeRun(4)) {
  const change = emptyChange({ epoch: 0, isConfirmed: false })
  const leases = new SwarmLeases([], () => change)
  const published = new Set<number>()
  let count = 0
  return {
    leases,
    published,
    take(node: NodeId, nowMs: number, pieceCount = 8) {
      count += 1
      const request = { node, pull: 'p', lease: `lease ${count}`, position: 0, nowMs, leaseMs: LEASE_MS }
      return leases.take(
        { ...request, policy },
        {
          pieceCount,
          pieceBytes: MIB,
          isOpen: (piece) => !published.has(piece),
          ...(fetchersOf && { fetchersOf }),
        },
      )
    },
  }
}

describe('the leases of a swarm', () => {
  it('are disjoint, and cover the blob', () => {
    const { take } = makeLeases()
    const covered: number[] = []
    for (const digit of '12121212') {
      const lease = take(nodeNamed(digit), 0)
      for (let at = 0; at < (lease?.pieces ?? 0); at += 1) covered.push(lease!.firstPiece + at)
    }
    expect(covered).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  it('are doubled piece by piece, once, when they make no progress and nothing else is left', () => {
    const { take, published } = makeLeases()
    for (let at = 1; at < 8; at += 1) published.add(at)
    take(nodeNamed('1'), 0)
    expect(take(nodeNamed('2'), LEASE_MS / 2)).toBeUndefined()
    expect(take(nodeNamed('1'), LEASE_MS / 2 + 1)).toBeUndefined()
    expect(take(nodeNamed('2'), LEASE_MS / 2 + 1)).toMatchObject({ firstPiece: 0, pieces: 1 })
    expect(take(nodeNamed('3'), LEASE_MS / 2 + 1)).toBeUndefined()
  })

  it('of a piece that two are to fetch are two, of different nodes', () => {
    const { take, published } = makeLeases(() => 2)
    for (let at = 1; at < 8; at += 1) published.add(at)
    expect(take(nodeNamed('1'), 0)).toMatchObject({ firstPiece: 0, pieces: 1 })
    expect(take(nodeNamed('1'), 0)).toBeUndefined()
    expect(take(nodeNamed('2'), 0)).toMatchObject({ firstPiece: 0, pieces: 1 })
    expect(take(nodeNamed('3'), 0)).toBeUndefined()
  })

  it('go to another node when they have run out', () => {
    const { take, published } = makeLeases()
    for (let at = 1; at < 8; at += 1) published.add(at)
    const first = take(nodeNamed('1'), 0)
    const next = take(nodeNamed('3'), LEASE_MS)
    expect(next).toMatchObject({ firstPiece: 0, node: nodeNamed('3') })
    expect(next!.lease).not.toBe(first!.lease)
  })

  it('that ran out beside one that runs bring nobody back at once', () => {
    const { leases, take, published } = makeLeases()
    for (let at = 1; at < 8; at += 1) published.add(at)
    take(nodeNamed('1'), 0)
    take(nodeNamed('2'), LEASE_MS - 1_000)
    expect(leases.nextExpiryInMs(LEASE_MS + 1)).toBe(LEASE_MS - 1_001)
  })
})

describe('one node that takes what it can', () => {
  it('holds a few leases at a time, and more when those have ended', () => {
    const { take, leases } = makeLeases()
    const takeAll = (nowMs: number) => {
      const taken: LeaseRecord[] = []
      for (let lease = take(nodeNamed('1'), nowMs, 100); lease; lease = take(nodeNamed('1'), nowMs, 100))
        taken.push(lease)
      return taken
    }
    const first = takeAll(0)
    expect(first).toHaveLength(LEASES_PER_NODE_MAX)
    leases.release(first[0]!.lease, nodeNamed('1'))
    expect(takeAll(1)).toHaveLength(1)
    expect(take(nodeNamed('2'), 1, 100)).toMatchObject({ pieces: 4 })
  })

  it('lends last what its holder requested beyond what its publications bear out', () => {
    const { leases, take, published } = makeLeases(undefined, farHalf())
    const one = nodeNamed('1')
    const { lease } = take(one, 0, 16)!
    published.add(0)
    leases.progress({ lease, node: one, newPieces: 1, nowMs: 1, leaseMs: LEASE_MS }, (it) =>
      published.has(it),
    )
    // One publication bears out seven pieces; it has asked the registry for twelve.
    expect(leases.requested(lease, one, 12)).toBe(16)
    const firstOf = (digit: string) => take(nodeNamed(digit), 2, 16)?.firstPiece
    expect([firstOf('2'), firstOf('3')]).toEqual([14, 13])
    // Nothing else is left, and its word alone keeps nobody waiting.
    expect(firstOf('4')).toBe(10)
    expect(leases.requested(lease, one, 12)).toBe(10)
  })

  it('keeps what it requested when it asks for another lease', () => {
    const { leases, take } = makeLeases(undefined, farHalf())
    const one = nodeNamed('1')
    const { lease } = take(one, 0, 16)!
    leases.requested(lease, one, 12)
    expect(take(one, 1, 16)).toMatchObject({ firstPiece: 12, pieces: 4 })
  })

  it('keeps no lease alive by what was said before', () => {
    const { take, leases } = makeLeases()
    const { lease } = take(nodeNamed('1'), 0)!
    const progress = { node: nodeNamed('1'), lease, leaseMs: LEASE_MS }
    leases.progress({ ...progress, newPieces: 1, nowMs: 1000 }, () => false)
    leases.progress({ ...progress, newPieces: 0, nowMs: 2000 }, () => false)
    // Its piece took a second: it is late five seconds after that.
    expect(leases.nextExpiryInMs(2000)).toBe(LATE_TIMES * 1000 - 1000)
    expect(leases.nextExpiryInMs(7000)).toBe(LEASE_MS - 6000)
  })
})

describe('a holder that falls behind', () => {
  const [quick, slow, other] = ['1', '2', '3'].map(nodeNamed) as [NodeId, NodeId, NodeId]

  /** `quick` has fetched its half of 16 pieces, one each 100 ms; `slow` has requested four of its half by then. */
  function fallBehind() {
    const made = makeLeases(undefined, farHalf())
    const { leases, take, published } = made
    const first = take(quick, 0, 16)!
    const second = take(slow, 0, 16)!
    expect([first.firstPiece, second.firstPiece, second.pieces]).toEqual([0, 10, 6])
    const publish = (node: NodeId, { lease }: LeaseRecord, piece: number, nowMs: number) => {
      published.add(piece)
      const progress = { node, lease, newPieces: 1, nowMs, leaseMs: LEASE_MS }
      leases.progress(progress, (it) => published.has(it))
      return leases.requested(lease, node, 16)
    }
    for (let piece = 0; piece < 10; piece += 1) publish(quick, first, piece, (piece + 1) * 100)
    return { ...made, second, publish }
  }

  it('keeps what it delivers soon; the rest of what it requested goes to another, and it is told', () => {
    const { take, publish, second, leases } = fallBehind()
    expect(publish(slow, second, 10, 150)).toBe(16)
    expect(take(quick, 149 + SILENT_MS_MIN, 16)).toBeUndefined()
    // A second of silence: two more seconds are worth a piece or two.
    const rest = take(quick, 150 + SILENT_MS_MIN, 16)
    expect(rest).toMatchObject({ firstPiece: 13, pieces: 3, node: quick })
    expect(publish(slow, second, 11, 2_000)).toBe(13)
    // It read on before it was told.
    expect(() => leases.check({ lease: second.lease, node: slow }, [13])).not.toThrow()
    expect(take(other, 2_000, 16)).toBeUndefined()
  })

  it('loses all of it when it is dead, and nobody waits for its lease to end', () => {
    const { take, leases, second } = fallBehind()
    expect(leases.nextExpiryInMs(2_500)).toBe(BEGIN_MS_MIN - 2_500)
    // Half of what it has not requested, and then the rest.
    expect(take(quick, BEGIN_MS_MIN, 16)).toMatchObject({ firstPiece: 15, pieces: 1 })
    expect(take(other, BEGIN_MS_MIN, 16)).toMatchObject({ firstPiece: 10, pieces: 5, firstPieces: 4 })
    expect(leases.requested(second.lease, slow, 16)).toBeUndefined()
  })
})

describe('a reader from the start', () => {
  /** It publishes a piece each `pieceMs`, and for so long that one lease's time is over. @returns the time */
  function read(pieceMs: number) {
    const { take, leases } = makeLeases(undefined, oneReader)
    const { lease } = take(nodeNamed('1'), 0, 64)!
    let nowMs = 0
    while (nowMs < 2 * LEASE_MS) {
      nowMs += pieceMs
      const progress = { node: nodeNamed('1'), lease, newPieces: 1, nowMs, leaseMs: LEASE_MS }
      leases.progress(progress, (piece) => piece < nowMs / pieceMs)
    }
    return take(nodeNamed('2'), nowMs, 64)
  }

  it('is alone while it gets on', () => {
    expect(read(LEASE_MS / 20)).toBeUndefined()
  })

  it('is not waited for when it is slow, though it never stops', () => {
    expect(read(LEASE_MS / 4)).toMatchObject({ node: nodeNamed('2'), pieces: 1 })
  })
})

describe('pieces whose hashes are known and that somebody waits for in vain', () => {
  const isPublished = () => true
  const awaited = [{ firstPiece: 2, pieces: 2 }]
  const leaseOf = (run: { firstPiece: number; pieces: number }): LeaseRecord => ({
    ...run,
    lease: 'lease',
    node: nodeNamed('1'),
    pull: 'p',
    expiresAtMs: LEASE_MS,
  })

  it('are due once, and again after a while', () => {
    const refetches = new Refetches()
    const due = (nowMs: number) =>
      [0, 1, 2, 3, 4].filter((piece) => refetches.isDue(piece, { awaited, nowMs }))
    expect(due(0)).toEqual([2, 3])
    expect(refetches.endInMs(awaited, 0)).toBeUndefined()
    refetches.begin(leaseOf({ firstPiece: 2, pieces: 1 }), { nowMs: 0, isPublished })
    expect(due(LEASE_MS - 1)).toEqual([3])
    expect(refetches.isRefetch(2, 'lease')).toBe(true)
    expect(refetches.isRefetch(3, 'lease')).toBe(false)
    expect(refetches.endInMs(awaited, 1_000)).toBe(LEASE_MS - 1_000)
    expect(refetches.endInMs([{ firstPiece: 3, pieces: 1 }], 1_000)).toBeUndefined()
    expect(due(LEASE_MS)).toEqual([2, 3])
    expect(refetches.endInMs(awaited, LEASE_MS)).toBeUndefined()
  })

  it('are due at once when whoever was sent gives up', () => {
    const refetches = new Refetches()
    refetches.begin(leaseOf({ firstPiece: 2, pieces: 2 }), { nowMs: 0, isPublished })
    refetches.release('another')
    expect(refetches.isDue(2, { awaited, nowMs: 1 })).toBe(false)
    refetches.release('lease')
    expect(refetches.isDue(2, { awaited, nowMs: 1 })).toBe(true)
  })

  it('are not counted while they have no hash: those are leased anyway', () => {
    const refetches = new Refetches()
    refetches.begin(leaseOf({ firstPiece: 2, pieces: 2 }), {
      nowMs: 0,
      isPublished: (piece) => piece === 3,
    })
    expect(refetches.isDue(2, { awaited, nowMs: 1 })).toBe(true)
    expect(refetches.isDue(3, { awaited, nowMs: 1 })).toBe(false)
  })
})
