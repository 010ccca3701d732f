import { expect, test } from 'vitest'
import { FALLBACK_PIECES_MAX, fallbackRun, outOfReachRuns } from '../../../client/origin/fallback-run.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import type { PieceIndex, PieceLayout } from '../../../core/metainfo.ts'
import { AWAITED_RUNS_MAX } from '../../../core/tracker-api.ts'

interface Situation {
  pieceCount: number
  have?: number[]
  position?: number
  place?: { at: number; of: number }
  offered?: number[]
}

function viewOf({ pieceCount, have = [], position = 0, place = { at: 0, of: 1 }, offered = [] }: Situation) {
  const field = new Bitfield(pieceCount)
  for (const piece of have) field.add(piece as PieceIndex)
  return {
    have: field,
    layout: { pieceCount } as PieceLayout,
    position: () => position,
    place: () => place,
    isNeeded: () => true,
    isOutOfReach: (piece: PieceIndex) => !offered.includes(piece),
  }
}

const runOf = (situation: Situation) => fallbackRun(viewOf(situation))

test('a node alone fetches from the reader on, up to the first stored piece', () => {
  expect(runOf({ pieceCount: 10, have: [0, 1, 5] })).toEqual({ first: 2, end: 5 })
  expect(runOf({ pieceCount: 10, have: [5], position: 6 })).toEqual({ first: 6, end: 10 })
})

test('nothing is fetched when nothing is missing', () => {
  expect(runOf({ pieceCount: 3, have: [0, 1, 2] })).toBeUndefined()
})

test('pieces before the reader come last: the end of a blob waits for all of it', () => {
  expect(runOf({ pieceCount: 6, have: [4, 5], position: 3 })).toEqual({ first: 3, end: 4 })
  expect(runOf({ pieceCount: 6, have: [0, 2, 3, 4, 5], position: 5 })).toEqual({ first: 1, end: 2 })
  expect(runOf({ pieceCount: 3, have: [1, 2], position: 1, place: { at: 1, of: 2 } })).toEqual({
    first: 0,
    end: 1,
  })
})

test('one fetch is bounded', () => {
  expect(runOf({ pieceCount: 100 })).toEqual({ first: 0, end: FALLBACK_PIECES_MAX })
})

test('pieces that nobody offers go first, and offered ones follow when nothing else is left', () => {
  expect(runOf({ pieceCount: 6, offered: [0, 1, 4] })).toEqual({ first: 2, end: 4 })
  expect(runOf({ pieceCount: 3, offered: [0, 1, 2] })).toEqual({ first: 0, end: 3 })
})

test('nodes that lose the same source at the same moment fetch different pieces, and together all of them', () => {
  for (const { pieceCount, of } of [
    { pieceCount: 12, of: 3 },
    { pieceCount: 7, of: 3 },
    { pieceCount: 2, of: 3 },
  ]) {
    const runs = Array.from({ length: of }, (_, at) => runOf({ pieceCount, place: { at, of } }))
    const pieces = runs.flatMap((run) => (run ? range(run.first, run.end) : []))
    expect(new Set(pieces)).toEqual(new Set(range(0, pieceCount)))
    if (of <= pieceCount) expect(pieces).toHaveLength(pieceCount)
  }
})

function range(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, index) => first + index)
}

test('the tracker is told which pieces are out of reach, as a bounded number of runs', () => {
  const view = viewOf({ pieceCount: 10, have: [0, 4], offered: [1, 7] })
  expect(outOfReachRuns(view)).toEqual([
    { firstPiece: 2, pieces: 2 },
    { firstPiece: 5, pieces: 2 },
    { firstPiece: 8, pieces: 2 },
  ])
  const odd = Array.from({ length: 150 }, (_, index) => 2 * index + 1)
  expect(outOfReachRuns(viewOf({ pieceCount: 300, have: odd }))).toHaveLength(AWAITED_RUNS_MAX)
})
