import { expect, test } from 'vitest'
import { LINK_BLOCKS_MAX, LinkTurns, TURN_BLOCKS_MAX } from '../../../client/engine/link-turns.ts'
import { PieceHolders } from '../../../client/engine/piece-holders.ts'
import { PROOF_WAIT_MS_MAX, PROOFS_PER_SECOND_MAX, ProofRate } from '../../../client/engine/proof-rate.ts'
import type { NodeId, PieceIndex } from '../../../core/metainfo.ts'

/** A connection that writes one block at a time, and swarms that would each fill it. */
function connection() {
  const turns = new LinkTurns()
  const begun: string[] = []
  const swarm = (name: string, blocks: number, isRead = true) => {
    const taker = {
      isRead,
      left: blocks,
      onTurn: () => taker.write(),
      write() {
        while (taker.left > 0 && turns.mayWrite(taker)) {
          taker.left -= 1
          begun.push(name)
          turns.begun(taker)
        }
      },
    }
    return taker
  }
  /** The socket accepts this many blocks, one after the other. */
  const accept = (blocks: number) => {
    for (let at = 0; at < blocks; at++) turns.ended()
  }
  return { turns, begun, swarm, accept }
}

test('a small blob beside a large one gets every second turn from the moment it asks', () => {
  const { begun, swarm, accept } = connection()
  const large = swarm('large', 1000)
  large.write()
  expect(begun).toHaveLength(LINK_BLOCKS_MAX)
  const small = swarm('small', 6)
  small.write()
  accept(16)
  const after = begun.slice(LINK_BLOCKS_MAX)
  expect(after.filter((name) => name === 'small')).toHaveLength(6)
  // Nothing else had two turns in a row while it waited.
  expect(after.join(' ')).not.toContain(
    Array(2 * TURN_BLOCKS_MAX)
      .fill('large')
      .join(' ')
      .concat(' small'),
  )
  expect(small.left).toBe(0)
})

test('sixty blobs share a connection evenly, and what nobody reads waits for those that are read', () => {
  const { begun, swarm, accept } = connection()
  const unread = swarm('unread', 100, false)
  const all = Array.from({ length: 60 }, (_, at) => swarm(String(at), 100))
  for (const taker of [unread, ...all]) taker.write()
  accept(600)
  const counts = all.map((_, at) => begun.filter((name) => name === String(at)).length)
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(TURN_BLOCKS_MAX)
  expect(begun.filter((name) => name === 'unread').length).toBeLessThanOrEqual(LINK_BLOCKS_MAX)
})

test('one whose turn it is and who writes nothing, or is gone, holds up nobody', () => {
  const { turns, begun, swarm, accept } = connection()
  const first = swarm('first', LINK_BLOCKS_MAX)
  first.write()
  const [idle, gone, waiting] = [swarm('idle', 9), swarm('gone', 9), swarm('waiting', 3)]
  for (const taker of [idle, gone, waiting]) taker.write()
  idle.left = 0
  turns.drop(gone)
  accept(LINK_BLOCKS_MAX)
  expect(begun.slice(LINK_BLOCKS_MAX)).toEqual(['waiting', 'waiting', 'waiting'])
})

test('never more is unsent than the bound, whoever asks', () => {
  const { begun, swarm, accept } = connection()
  const takers = Array.from({ length: 10 }, (_, at) => swarm(String(at), 50))
  let ended = 0
  for (let round = 0; round < 200; round++) {
    takers[round % 10]!.write()
    if (begun.length > ended) {
      accept(1)
      ended += 1
    }
    expect(begun.length - ended).toBeLessThanOrEqual(LINK_BLOCKS_MAX)
  }
})

test('proofs come at their rate, after a burst of a second', () => {
  const rate = new ProofRate()
  const now = 10_000
  const node = (at: number) => String(at).padStart(40, '0') as NodeId
  const waits = Array.from({ length: 3 * PROOFS_PER_SECOND_MAX }, (_, at) => rate.take(now, node(at))!)
  expect(waits.filter((ms) => ms === 0).length).toBe(PROOFS_PER_SECOND_MAX + 1)
  expect(waits.at(-1)).toBeCloseTo(2000 - 1000 / PROOFS_PER_SECOND_MAX, 5)
  expect(rate.take(now + 60_000, node(0))).toBe(0)
})

test('one node waits for one proof at a time, and nobody for longer than the registry would take', () => {
  const rate = new ProofRate()
  const [flood, honest] = ['f', 'a'].map((digit) => digit.repeat(40) as NodeId) as [NodeId, NodeId]
  for (let turn = 0; turn < 10_000; turn += 1) rate.take(turn, flood)
  expect(rate.take(10_000, honest)).toBeLessThan(1000)
  const nodes = Array.from({ length: 2000 }, (_, at) => String(at).padStart(40, '0') as NodeId)
  const waits = nodes.map((node) => rate.take(10_000, node))
  expect(Math.max(...waits.filter((ms) => ms !== undefined))).toBeLessThanOrEqual(PROOF_WAIT_MS_MAX)
  expect(waits.at(-1)).toBe(undefined)
})

test('a node counts once for a piece, however often and wherever it says that it has it', () => {
  const [one, two] = ['1', '2'].map((digit) => digit.repeat(40) as NodeId) as [NodeId, NodeId]
  const holders = new PieceHolders(4)
  const piece = 2 as PieceIndex
  expect(holders.note(one, [piece])).toBe(true)
  expect(holders.note(one, [piece])).toBe(false)
  expect(holders.note(two, [piece, 3 as PieceIndex])).toBe(true)
  expect([holders.countOf(piece), holders.piecesOf(two)]).toEqual([2, 2])
  holders.forget(one)
  holders.forget(one)
  expect([holders.countOf(piece), holders.piecesOf(one)]).toEqual([1, 0])
})
