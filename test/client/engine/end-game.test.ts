import { describe, expect, it } from 'vitest'
import { type EndGameView, othersToLetOff, pickDuplicate } from '../../../client/engine/end-game.ts'
import { type Assembly, newSource, type Source } from '../../../client/engine/source.ts'
import { allPieces, type NodeId, type PieceIndex, pieceLayout } from '../../../core/metainfo.ts'

/** What a further source is asked for when all is under way. */

const MIB = 1024 * 1024
const LAYOUT = pieceLayout(8 * MIB)
const LIMITS = { blockBytes: 128 * 1024, requestsMax: 64, hasFast: true }

function makeSource(hasFast = true): Source {
  const port = {
    node: '' as NodeId,
    request: () => undefined,
    cancel: () => undefined,
    received: () => undefined,
    discardBlock: () => undefined,
  }
  const source = newSource(port, { ...LIMITS, hasFast }, { pieceCount: LAYOUT.pieceCount, nowMs: 0 })
  for (const piece of allPieces(LAYOUT)) source.offered.add(piece)
  return source
}

function makeAssembly(piece: number, some: Partial<Assembly> = {}): Assembly {
  return {
    piece: piece as PieceIndex,
    length: MIB,
    copy: { buffer: { bytes: new Uint8Array(0), pieceBytes: MIB, isSecond: false } },
    source: makeSource(),
    startedAtMs: 0,
    outstanding: new Map(),
    requestedBytes: MIB,
    receivedBytes: 0,
    isTakenBack: false,
    ...some,
  }
}

function viewOf(assemblies: Assembly[], some: Partial<EndGameView> = {}): EndGameView {
  const inFlight = new Map<PieceIndex, Assembly[]>()
  for (const assembly of assemblies)
    inFlight.set(assembly.piece, [...(inFlight.get(assembly.piece) ?? []), assembly])
  const never = { isVerifying: () => false, lateAfterMs: () => Number.POSITIVE_INFINITY }
  return { inFlight, nowMs: 0, idleMs: 0, ...never, ...some }
}

describe('a further source', () => {
  it('is asked for late pieces of which less than half is here, the one longest in flight first', () => {
    const lateAfterMs = () => 1_000
    const half = makeAssembly(0, { receivedBytes: MIB / 2 })
    const [older, newer] = [
      makeAssembly(2, { startedAtMs: 5, receivedBytes: 1 }),
      makeAssembly(1, { startedAtMs: 9 }),
    ]
    const assemblies = [newer, half, older]
    expect(pickDuplicate(makeSource(), viewOf(assemblies, { nowMs: 1_005, lateAfterMs }))).toBeUndefined()
    expect(pickDuplicate(makeSource(), viewOf(assemblies, { nowMs: 1_006, lateAfterMs }))).toBe(2)
  })

  it('is not asked for a piece that it is sending, does not offer, or that is being verified', () => {
    const late = { nowMs: 9_000, lateAfterMs: () => 0 }
    const waiting = makeAssembly(2)
    expect(pickDuplicate(makeSource(), viewOf([waiting], late))).toBe(2)
    expect(pickDuplicate(waiting.source, viewOf([waiting], late))).toBeUndefined()
    expect(
      pickDuplicate(makeSource(), viewOf([waiting], { ...late, isVerifying: () => true })),
    ).toBeUndefined()
    const without = makeSource()
    without.offered.delete(2 as PieceIndex)
    expect(pickDuplicate(without, viewOf([waiting], late))).toBeUndefined()
  })

  it('that is snubbed is asked only when nothing arrives', () => {
    const stalled = makeSource()
    stalled.isSnubbed = true
    const view = (idleMs: number) => viewOf([makeAssembly(2)], { nowMs: 9_000, idleMs, lateAfterMs: () => 0 })
    expect(pickDuplicate(stalled, view(999))).toBeUndefined()
    expect(pickDuplicate(stalled, view(1_000))).toBe(2)
  })

  it('is one of two, of four after a second in which nothing arrives, of six after two, and of no more', () => {
    const countAt = (idleMs: number) => {
      const assemblies = [makeAssembly(2)]
      const view = () => viewOf(assemblies, { nowMs: 9_000, idleMs, lateAfterMs: () => 0 })
      while (assemblies.length < 9 && pickDuplicate(makeSource(), view()) !== undefined)
        assemblies.push(makeAssembly(2))
      return assemblies.length
    }
    expect([0, 999, 1_000, 2_000, 60_000].map(countAt)).toEqual([2, 2, 4, 6, 6])
  })

  it('is one of three in the time after which a piece is late, unless nothing arrives', () => {
    const asked = (piece: number, startedAtMs: number) => [
      makeAssembly(piece),
      makeAssembly(piece, { startedAtMs }),
    ]
    const late = { nowMs: 9_000, lateAfterMs: () => 300 }
    const others = [asked(0, 8_900), asked(1, 8_800), asked(2, 8_701)].flat()
    const three = [...others, makeAssembly(3)]
    expect(pickDuplicate(makeSource(), viewOf(three, late))).toBeUndefined()
    expect(pickDuplicate(makeSource(), viewOf(three, { ...late, nowMs: 9_001 }))).toBe(3)
    expect(pickDuplicate(makeSource(), viewOf(three, { ...late, idleMs: 1_000 }))).toBeDefined()
  })
})

describe('when one source begins', () => {
  it('the others are cancelled, except those that have begun and those without BEP 6', () => {
    const first = makeAssembly(2)
    const [waiting, begun, arriving, stock] = [
      makeAssembly(2),
      makeAssembly(2, { receivedBytes: 1 }),
      makeAssembly(2),
      makeAssembly(2, { source: makeSource(false) }),
    ]
    arriving.source.arriving = { assembly: arriving, begin: 0, sinceMs: 0 }
    expect(othersToLetOff(first, [first, waiting, begun, arriving, stock])).toEqual([waiting])
  })
})
