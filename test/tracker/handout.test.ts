import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BEGIN_MS_MIN,
  type HolderPace,
  KEPT_MS,
  LATE_TIMES,
  lateAfterMs,
  piecesKept,
  SILENT_MS_MIN,
  usualPieceMs,
} from '../../tracker/handout/late-holders.ts'
import {
  farHalf,
  firstFreeRun,
  LEASE_PIECES_MAX,
  type LeaseQuestion,
  oneReader,
  SPLIT_BYTES_MIN,
} from '../../tracker/handout/leases.ts'
import { choosePeers, HANDOUTS_PER_HEARTBEAT_MAX } from '../../tracker/handout/peers.ts'
import {
  REFETCH_SPREAD_MAX_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
  RETRY_SPREAD_MAX_MS,
  Retries,
} from '../../tracker/handout/retries.ts'

/** A small generator with a seed (mulberry32): the same choices in every run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

const peersNamed = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => ({ name: `${prefix}${index}`, handouts: 0 }))

describe('a run to lease', () => {
  it('is free, as long as it can be, and starts at the first free piece from the position on', () => {
    const free = fc.array(fc.boolean(), { minLength: 1, maxLength: 60 })
    const positions = fc.integer({ min: 0, max: 80 })
    const lengths = fc.integer({ min: 1, max: 60 })
    fc.assert(
      fc.property(free, positions, lengths, (isFree, position, runPiecesMax) => {
        const question = { pieceCount: isFree.length, position, isFree: (piece: number) => isFree[piece]! }
        const run = firstFreeRun(runPiecesMax)(question)
        const ahead = isFree.findIndex((it, piece) => it && piece >= position)
        const expected = ahead === -1 ? isFree.indexOf(true) : ahead
        if (run === undefined) return expected === -1
        const taken = isFree.slice(run.firstPiece, run.firstPiece + run.pieces)
        const isLongest = taken.length === runPiecesMax || isFree[run.firstPiece + run.pieces] !== true
        return run.firstPiece === expected && taken.length === run.pieces && taken.every(Boolean) && isLongest
      }),
    )
  })
})

describe('a share of a cold blob', () => {
  const question: LeaseQuestion = {
    ...{
      pieceCount: 128,
      pieceBytes: 1024 * 1024,
      position: 0,
      unrequested: [],
      late: [],
      holders: 0,
      readers: 0,
    },
    isOpen: () => true,
    isFree: () => true,
  }
  const isFree = () => false

  it('is all of it for the first asker, which requests four MiB at once', () => {
    expect(farHalf()(question)).toEqual({ firstPiece: 0, pieces: 128, firstPieces: 4 })
    expect(farHalf()({ ...question, position: 100 })).toEqual({ firstPiece: 100, pieces: 28, firstPieces: 4 })
    expect(farHalf()({ ...question, pieceCount: 3 })).toEqual({ firstPiece: 0, pieces: 3, firstPieces: 3 })
    const large = { ...question, pieceCount: 16_000, pieceBytes: 4 * 1024 * 1024 }
    expect(farHalf()(large)).toEqual({ firstPiece: 0, pieces: LEASE_PIECES_MAX, firstPieces: 2 })
  })

  it('is the far half of the longest run that nobody has requested, for each that comes later', () => {
    const unrequested = [
      { firstPiece: 4, pieces: 10 },
      { firstPiece: 70, pieces: 31 },
    ]
    const half = { firstPiece: 86, pieces: 15, firstPieces: 4 }
    expect(farHalf()({ ...question, isFree, unrequested })).toEqual(half)
  })

  it('is nothing where all is requested, or so little is left that its holder may keep it', () => {
    expect(farHalf()({ ...question, isFree })).toBeUndefined()
    const little = { firstPiece: 4, pieces: SPLIT_BYTES_MIN / question.pieceBytes - 1 }
    expect(farHalf()({ ...question, isFree, unrequested: [little] })).toBeUndefined()
    const enough = { ...little, pieces: little.pieces + 1 }
    expect(farHalf()({ ...question, isFree, unrequested: [enough] })).toMatchObject({ pieces: 1 })
  })

  it('waits while enough nodes hold leases', () => {
    expect(farHalf({ holdersMax: 4 })({ ...question, holders: 4 })).toBeUndefined()
  })

  it('is what late holders will not deliver soon, where nothing else is left or enough hold leases', () => {
    const late = [{ firstPiece: 7, pieces: 1 }, ...[{ firstPiece: 20, pieces: 6 }]]
    const rest = { firstPiece: 20, pieces: 6, firstPieces: 4, isLate: true }
    expect(farHalf()({ ...question, isFree, late })).toEqual(rest)
    expect(farHalf({ holdersMax: 4 })({ ...question, holders: 4, late })).toEqual(rest)
    const unrequested = [{ firstPiece: 40, pieces: 8 }]
    expect(farHalf()({ ...question, isFree, unrequested, late })).toMatchObject({ firstPiece: 44 })
  })
})

describe('a holder that is late', () => {
  const usualMs = 100
  const slowMs = LATE_TIMES * usualMs + 1
  const paceOf = (pace: Partial<HolderPace>) => ({
    ...{ hasBegun: true, pieces: 0, tookMs: 0, idleMs: 0, usualMs, answerMs: 0 },
    ...pace,
  })

  it('keeps what it delivers in two seconds by its own pace', () => {
    const kept = Math.floor(KEPT_MS / slowMs)
    expect(piecesKept(paceOf({ pieces: 4, tookMs: 4 * slowMs }))).toBe(kept)
    expect(piecesKept(paceOf({ pieces: 1, tookMs: KEPT_MS + 1 }))).toBe(0)
  })

  it('is one that needs several times as long as others, or has sent nothing for a while', () => {
    const pieces = 4
    const tookMs = pieces * (slowMs - 1)
    expect(piecesKept(paceOf({ pieces, tookMs, idleMs: SILENT_MS_MIN - 1 }))).toBe(Infinity)
    const silent = { pieces, tookMs: pieces * usualMs, idleMs: SILENT_MS_MIN }
    expect(piecesKept(paceOf(silent))).toBe(KEPT_MS / SILENT_MS_MIN)
    expect(piecesKept(paceOf({ idleMs: KEPT_MS + 1 }))).toBe(0)
    expect(lateAfterMs(usualMs, { hasBegun: true })).toBe(SILENT_MS_MIN)
  })

  it('is none for its first piece that came within a second, however quick others are', () => {
    expect(piecesKept(paceOf({ pieces: 1, tookMs: SILENT_MS_MIN - 1, usualMs: 1 }))).toBe(Infinity)
  })

  it('has three seconds for its first piece, while many begin at once', () => {
    const begins = (idleMs: number) => piecesKept(paceOf({ hasBegun: false, idleMs }))
    expect(begins(BEGIN_MS_MIN - 1)).toBe(Infinity)
    expect(begins(BEGIN_MS_MIN)).toBe(0)
    expect(lateAfterMs(usualMs, { hasBegun: false })).toBe(BEGIN_MS_MIN)
  })

  it('is none for the time that the tracker takes to answer', () => {
    const answerMs = 3_000
    expect(piecesKept(paceOf({ pieces: 4, tookMs: answerMs + 999, idleMs: answerMs + 999, answerMs }))).toBe(
      Infinity,
    )
    expect(piecesKept(paceOf({ pieces: 1, tookMs: answerMs + KEPT_MS, answerMs }))).toBe(1)
    expect(piecesKept(paceOf({ idleMs: answerMs + KEPT_MS, answerMs }))).toBe(1)
  })

  it('is none where all are as slow, or while nobody knows how long a piece takes', () => {
    const slow = { pieces: 1, tookMs: 9_000, idleMs: 9_000 }
    expect(piecesKept(paceOf({ ...slow, usualMs: 3_000 }))).toBe(Infinity)
    expect(piecesKept(paceOf({ idleMs: 9_000, usualMs: undefined }))).toBe(Infinity)
    expect(lateAfterMs(3_000, { hasBegun: false })).toBe(3_000 * LATE_TIMES)
  })

  it('is judged by what pieces took lately', () => {
    expect(usualPieceMs(undefined, 800, 4)).toBe(200)
    expect(usualPieceMs(200, 100, 1)).toBeCloseTo(193.75)
    expect(usualPieceMs(200, 1_600, 32)).toBe(50)
  })
})

describe('the reader of a registry without ranges', () => {
  it('is one, from the first missing piece, whatever ranges others hold', () => {
    const question = { pieceCount: 8, pieceBytes: 1, position: 5, unrequested: [], late: [], holders: 3 }
    const pieces = { isOpen: (piece: number) => piece > 1, isFree: () => false }
    const run = { firstPiece: 2, pieces: 6, isReader: true }
    expect(oneReader({ ...question, ...pieces, readers: 0 })).toEqual(run)
    expect(oneReader({ ...question, ...pieces, readers: 1 })).toBeUndefined()
  })
})

describe('the time to ask again', () => {
  const inMs = (retries: Retries, options: Partial<Parameters<Retries['inMs']>[0]>) =>
    retries.inMs({ nextExpiryInMs: 1_000, isCold: true, nowMs: 0, random: 0.5, ...options })

  it('is after the next lease may run out, and bounded', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(60_000), fc.nat(100), fc.double({ min: 0, max: 0.999, noNaN: true }))),
        (asks) => {
          const retries = new Retries()
          let nowMs = 0
          for (const [nextExpiryInMs, passedMs, random] of asks) {
            nowMs += passedMs
            const ms = inMs(retries, { nextExpiryInMs, nowMs, random })
            const firstMs = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, nextExpiryInMs))
            expect(ms).toBeGreaterThanOrEqual(firstMs)
            expect(ms).toBeLessThanOrEqual(firstMs + RETRY_SPREAD_MAX_MS)
          }
        },
      ),
    )
  })

  it('is the first moment for whoever waits alone, and later for each that waits as well', () => {
    const retries = new Retries()
    expect([1, 2, 3].map(() => inMs(retries, {}))).toEqual([1_000, 1_020, 1_040])
    expect(inMs(retries, { nowMs: 500 })).toBe(1_000)
    expect(inMs(new Retries(), { nowMs: 500 })).toBe(1_000)
  })

  it('is any moment of the spread for those that do not fit into it', () => {
    const retries = new Retries()
    const all = Array.from({ length: 1_000 }, (_, at) => inMs(retries, { isCold: false, random: at / 1_000 }))
    expect(Math.max(...all)).toBeLessThanOrEqual(1_000 + REFETCH_SPREAD_MAX_MS)
    expect(new Set(all.slice(500)).size).toBeGreaterThan(400)
  })
})

describe('handing out peers', () => {
  it('never names the ineligible, nobody twice, and no more than asked for', () => {
    const sizes = fc.nat(80)
    fc.assert(
      fc.property(
        sizes,
        sizes,
        fc.integer({ min: 1, max: 40 }),
        fc.integer(),
        (seedCount, leecherCount, peersMax, seed) => {
          const [seeds, leechers] = [peersNamed('s', seedCount), peersNamed('l', leecherCount)]
          const chosen = choosePeers({
            seeds,
            leechers,
            peersMax,
            isEligible: ({ name }) => name !== 's0' && name !== 'l0',
            random: seeded(seed),
          })
          const eligible = Math.max(0, seedCount - 1) + Math.max(0, leecherCount - 1)
          expect(new Set(chosen).size).toBe(chosen.length)
          expect(chosen.length).toBeLessThanOrEqual(peersMax)
          expect(chosen.some(({ name }) => name === 's0' || name === 'l0')).toBe(false)
          if (eligible > 0) expect(chosen.length).toBeGreaterThan(0)
        },
      ),
    )
  })

  it('gives half seeds and half leechers of a large swarm', () => {
    const [seeds, leechers] = [peersNamed('s', 1000), peersNamed('l', 1000)]
    const chosen = choosePeers({ seeds, leechers, peersMax: 30, isEligible: () => true, random: seeded(1) })
    expect(chosen).toHaveLength(30)
    expect(chosen.filter(({ name }) => name.startsWith('s'))).toHaveLength(15)
  })

  it('names seeds and leechers in any order: the dozen that a node dials has both', () => {
    const [seeds, leechers] = [peersNamed('s', 15), peersNamed('l', 1000)]
    const random = seeded(3)
    const ask = () =>
      choosePeers({ seeds, leechers, peersMax: 30, isEligible: () => true, random })
        .slice(0, 12)
        .filter(({ name }) => name.startsWith('s')).length
    const dialled = Array.from({ length: 4 }, ask)
    expect(Math.min(...dialled)).toBeGreaterThan(1)
    expect(Math.max(...dialled)).toBeLessThan(11)
  })

  it('spreads a flash crowd: the only seed is not named to everyone, and no leecher far above the mean', () => {
    const [seeds, leechers] = [peersNamed('s', 1), peersNamed('l', 1000)]
    const random = seeded(2)
    for (let asker = 0; asker < 1000; asker += 1) {
      choosePeers({ seeds, leechers, peersMax: 30, isEligible: () => true, random })
    }
    expect(seeds[0]!.handouts).toBe(HANDOUTS_PER_HEARTBEAT_MAX)
    const handouts = leechers.map((leecher) => leecher.handouts)
    expect(Math.min(...handouts)).toBeGreaterThan(20)
    expect(Math.max(...handouts)).toBeLessThan(45)
  })

  it('names someone even when all had their share', () => {
    const seeds = peersNamed('s', 2)
    for (const seed of seeds) seed.handouts = HANDOUTS_PER_HEARTBEAT_MAX
    const chosen = choosePeers({
      seeds,
      leechers: [],
      peersMax: 30,
      isEligible: () => true,
      random: seeded(3),
    })
    expect(chosen.length).toBeGreaterThan(0)
  })
})
