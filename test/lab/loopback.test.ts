import { describe, expect, it } from 'vitest'
import { confirmedCount } from '../../lab/confirmed-swarms.ts'
import { LOOPBACK_USAGE, parseLoopbackOptions } from '../../lab/loopback/options.ts'
import { type RoundReport, renderRounds } from '../../lab/loopback/report.ts'

describe('the flags of npm run lab', () => {
  it('pull a warm blob on four nodes, three times, when there are none', () => {
    const options = { nodes: 4, mib: 256, rounds: 3, state: 'warm', isKept: false, isJson: false }
    expect(parseLoopbackOptions([])).toMatchObject(options)
  })

  it('choose everything, and may pull nothing at all', () => {
    const argv = ['--nodes', '8', '--mib', '1024', '--rounds', '0', '--state', 'cold', '--keep', '--json']
    const options = { nodes: 8, mib: 1024, rounds: 0, state: 'cold', isKept: true, isJson: true }
    expect(parseLoopbackOptions(argv)).toMatchObject(options)
  })

  it.each([
    ['no nodes', ['--nodes', '0']],
    ['too many nodes', ['--nodes', '33']],
    ['another state', ['--state', 'fresh']],
    ['half a MiB', ['--mib', '0.5']],
    ['a stray word', ['start']],
  ])('are refused with %s', (_, argv) => {
    expect(() => parseLoopbackOptions(argv)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  it('that are misspelt get the nearest one as a hint', () => {
    const hint = expect.stringContaining('--rounds')
    expect(() => parseLoopbackOptions(['--round', '1'])).toThrow(expect.objectContaining({ hint }))
  })

  it('are all explained', () => {
    for (const flag of ['nodes', 'mib', 'rounds', 'state', 'program', 'keep', 'json']) {
      expect(LOOPBACK_USAGE).toContain(`--${flag}`)
    }
  })
})

describe('the table of npm run lab', () => {
  const round: RoundReport = {
    ...{ round: 1, state: 'cold', nodes: 2, blobMib: 256, seconds: 1.5, secondsOfNodes: [1.5, 1.2] },
    ...{ mibPerSecond: 341.33, cpuSecondsPerGib: 6.128, clientCpuSecondsPerGib: 0.714 },
    ...{ registryCopies: 1, holderCopies: null, othersCores: 0.04, idleCores: 0.1, stealCores: 0 },
  }

  it('has a line for each round under a line of heads, in columns', () => {
    const lines = renderRounds({ rounds: [round, { ...round, round: 2, holderCopies: 1.25 }] }).split('\n')
    expect(lines).toHaveLength(3)
    expect(new Set(lines.map((line) => line.length)).size).toBe(1)
    expect(lines[1]).toMatch(/1 +cold +2 +256 +1\.50 +341 +6\.13 +0\.71 +1\.00 +– +0\.04/)
    expect(lines[2]).toContain('1.25')
  })
})

describe('the count of confirmed blobs', () => {
  it('is read from the tracker’s metrics', () => {
    const metrics =
      '# TYPE shoal_tracker_swarms_confirmed_total counter\nshoal_tracker_swarms_confirmed_total 3\n'
    expect(confirmedCount(metrics)).toBe(3)
  })

  it('is 0 while there is none', () => {
    expect(confirmedCount('shoal_tracker_nodes 2\n')).toBe(0)
  })
})
