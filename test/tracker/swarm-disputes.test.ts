import { describe, expect, it } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { type DisputeRecord, emptyChange } from '../../tracker/store/store.ts'
import { DISPUTE_MS, SwarmDisputes } from '../../tracker/swarm/swarm-disputes.ts'

const IDENTITY = {
  cluster: `c${'1'.repeat(16)}` as ClusterId,
  swarm: 'a'.repeat(40) as SwarmId,
  registry: 'registry.example.com' as RegistryHost,
  digest: digestFromHex('d'.repeat(64)),
  bytes: 1_000_000,
}
const PIECE = 2
const nodeNamed = (digit: string) => digit.repeat(40) as NodeId
const [PUBLISHER, REPORTER, THREE, FOUR] = ['1', '2', '3', '4'].map(nodeNamed) as [
  NodeId,
  NodeId,
  NodeId,
  NodeId,
]
const RIGHT = Buffer.alloc(32, 1)
const WRONG = Buffer.alloc(32, 2)

function disputed(records: DisputeRecord[] = []) {
  const change = emptyChange({ epoch: 1, isConfirmed: false })
  const disputes = new SwarmDisputes(IDENTITY, records, () => change)
  if (records.length === 0) {
    disputes.add({
      ...{ kind: 'mismatch', epoch: 0, piece: PIECE, atMs: 0 },
      ...{
        publisher: PUBLISHER,
        publisherPull: 'p',
        publishedHash: WRONG,
        reporter: REPORTER,
        reportedHash: RIGHT,
      },
    })
  }
  const testify = (node: NodeId, hash: Buffer, nowMs = 1) =>
    disputes.testify(PIECE, { node, pull: 'p', hash, nowMs })
  return { disputes, change, testify }
}

describe('a disputed piece', () => {
  it('has a hash again when two nodes found the same, and who said otherwise is named to the operator', () => {
    const { change, testify } = disputed()
    expect(testify(THREE, RIGHT)).toBe(false)
    expect(testify(FOUR, RIGHT)).toBe(true)
    expect(change.audit).toMatchObject([{ actor: `node ${FOUR}`, target: PUBLISHER }])
  })

  it('is not settled by one node that says the same twice, or two things', () => {
    const { disputes, change, testify } = disputed()
    expect(testify(THREE, WRONG)).toBe(false)
    expect(testify(THREE, WRONG)).toBe(false)
    expect(testify(THREE, RIGHT)).toBe(false)
    expect(testify(FOUR, RIGHT)).toBe(false)
    expect(change.audit).toEqual([])
    expect(disputes.barredPieces(THREE, 2)).toEqual(new Set([PIECE]))
  })

  it('is fetched by two nodes at a time, by one when one has said its word, and again by one in the end', () => {
    const { disputes, testify } = disputed()
    expect(disputes.fetchersOf(PIECE, 1)).toBe(2)
    expect(disputes.fetchersOf(PIECE + 1, 1)).toBe(1)
    testify(THREE, RIGHT)
    expect(disputes.fetchersOf(PIECE, 1)).toBe(1)
    expect(disputes.fetchersOf(PIECE, DISPUTE_MS)).toBe(1)
  })

  it('takes any hash when the tracker has found out itself who was wrong, and when a minute is over', () => {
    const { disputes, testify } = disputed()
    expect(testify(THREE, RIGHT, DISPUTE_MS)).toBe(true)
    disputes.settle(PIECE, 1)
    expect(testify(THREE, RIGHT, 2)).toBe(true)
    expect(disputes.barredPieces(REPORTER, 2)).toEqual(new Set([PIECE]))
    expect(disputes.newest).toMatchObject({ kind: 'mismatch' })
  })

  it('is the same for a tracker that reads it from the store', () => {
    const { change, testify } = disputed()
    testify(THREE, RIGHT)
    const other = disputed(change.addDisputes)
    expect(other.testify(THREE, RIGHT)).toBe(false)
    expect(other.testify(FOUR, RIGHT)).toBe(true)
  })
})
