import { describe, expect, it } from 'vitest'
import { fleetImageOf, limitSeconds } from '../../bench/fleet/limit.ts'
import { parseFleetOptions } from '../../bench/fleet/options.ts'
import { type FleetReport, type Round, renderFleet, summariseRounds } from '../../bench/fleet/report.ts'

const MIB = 2 ** 20
const links = { nodeBytesPerSecond: 8e6, registryBytesPerSecond: 32e6 }
const image = { bytes: 128e6, pieces: 128 }

describe('the limit', () => {
  it('of one node is what its own link takes, whoever sends', () => {
    for (const mode of ['cold', 'warm', 'direct'] as const) {
      expect(limitSeconds(mode, 1, image, links)).toBeCloseTo(16)
    }
  })

  it('grows by one piece with every doubling, warm and cold', () => {
    expect(limitSeconds('warm', 16, image, links)).toBeCloseTo(16 * (132 / 128))
    expect(limitSeconds('cold', 16, image, links)).toBeCloseTo(16 * (132 / 128))
    expect(limitSeconds('warm', 2, { bytes: 8e6, pieces: 1 }, links)).toBeCloseTo(2)
  })

  it('is the registry’s link where that is the narrowest', () => {
    const narrow = { nodeBytesPerSecond: 8e6, registryBytesPerSecond: 4e6 }
    expect(limitSeconds('cold', 1, image, narrow)).toBeCloseTo(32)
    expect(limitSeconds('cold', 4, image, narrow)).toBeCloseTo(32 * (130 / 128))
    expect(limitSeconds('warm', 4, image, narrow)).toBeCloseTo(16 * (130 / 128))
  })

  it('of direct pulls is the registry’s link for all', () => {
    expect(limitSeconds('direct', 4, image, links)).toBeCloseTo(16)
    expect(limitSeconds('direct', 16, image, links)).toBeCloseTo(64)
  })

  it('counts all layers’ bytes and the largest one’s pieces', () => {
    expect(fleetImageOf([128 * MIB, MIB])).toEqual({ bytes: 129 * MIB, pieces: 128 })
    expect(fleetImageOf([MIB, 128 * MIB + 1]).pieces).toBe(65)
    expect(fleetImageOf([1000]).pieces).toBe(1)
  })
})

const round = (changes: Partial<Round>): Round => ({
  mode: 'cold',
  nodes: 4,
  limitSeconds: 16,
  seconds: [18, 19, 20, 22],
  registryCopies: 1,
  linkCopies: 1.01,
  holderCopies: 0,
  mostSentCopies: 0.9,
  mostReceivedCopies: 1.05,
  ...changes,
})

describe('the report', () => {
  const { runs, counted } = summariseRounds([
    round({}),
    round({ mode: 'direct', nodes: 1, seconds: [17] }),
    round({ seconds: [18, 18, 18, 18], registryCopies: 1.1 }),
    round({ nodes: 1, seconds: [17.5] }),
  ])

  it('has one median row per mode and count', () => {
    expect(runs.map(({ mode, nodes }) => `${mode} ${nodes}`)).toEqual(['cold 1', 'cold 4', 'direct 1'])
    expect(runs[1]).toEqual({
      mode: 'cold',
      nodes: 4,
      makespanSeconds: 20,
      limitSeconds: 16,
      slowestOverMedian: Number(((22 / 19.5 + 1) / 2).toFixed(3)),
      registryCopies: 1.05,
    })
    expect(counted.map(({ rounds }) => rounds)).toEqual([1, 2, 1])
  })

  it('reads as a table', () => {
    const report = { machine: { measurement: { rounds: counted } }, runs } as FleetReport
    const lines = renderFleet(report).split('\n')
    expect(lines).toHaveLength(5)
    expect(lines[3]).toMatch(/^\| cold +\| +4 \| +20\.0 \| +16\.0 \| +1\.25 \| +1\.06 \| +1\.05 \| 1\.01 \|$/)
  })
})

describe('the flags', () => {
  it('make a full run of two, or a quick one', () => {
    expect(parseFleetOptions([])).toMatchObject({ nodes: [1, 4, 8, 16], runs: 2, isQuick: false })
    expect(parseFleetOptions(['--quick'])).toMatchObject({
      nodes: [1, 4],
      modes: ['cold', 'direct'],
      runs: 1,
    })
  })

  it('choose modes and counts', () => {
    const options = parseFleetOptions(['--modes', 'warm,cold', '--nodes', '8,2', '--runs', '1', '--json'])
    expect(options).toMatchObject({ modes: ['cold', 'warm'], nodes: [2, 8], runs: 1, isJson: true })
  })

  it.each([['--modes', 'hot'], ['--nodes', '0'], ['--nodes', '33'], ['--runs', 'x'], ['--fast']])(
    '%s %s is refused',
    (...argv) => {
      expect(() => parseFleetOptions(argv)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    },
  )
})
