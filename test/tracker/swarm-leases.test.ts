import { describe, expect, it } from 'vitest'
import type { NodeId } from '../../core/metainfo.ts'
import { fairShare } from '../../tracker/handout/leases.ts'
import { emptyChange } from '../../tracker/store/store.ts'
import { SwarmLeases } from '../../tracker/swarm/swarm-leases.ts'

const LEASE_MS = 9_000
const nodeNamed = (digit: string) => digit.repeat(40) as NodeId

function makeLeases(fetchersOf?: (piece: number) => number) {
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
        { ...request, sharers: 2, policy: fairShare({ runPiecesMax: 4 }) },
        { pieceCount, isOpen: (piece) => !published.has(piece), ...(fetchersOf && { fetchersOf }) },
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
})
