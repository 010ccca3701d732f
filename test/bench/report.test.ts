import { describe, expect, it } from 'vitest'
import { renderPlot } from '../../bench/engine/plot.ts'
import { type Report, summarise, type Transfer } from '../../bench/engine/report.ts'
import { withResults } from '../../bench/engine/results-page.ts'
import { rotated, TimeBudget } from '../../bench/engine/rounds.ts'
import { renderReport, renderTable } from '../../bench/engine/table.ts'
import { median } from '../../bench/measure/median.ts'

const MIB = 2 ** 20

const transfer = (changes: Partial<Transfer>): Transfer => ({
  system: 'shoal',
  downloaders: 1,
  blobBytes: 1024 * MIB,
  seconds: 2,
  cpuSeconds: 3,
  peakRssBytes: 100 * MIB,
  holderSentBytes: 1024 * MIB,
  registryBytes: 0,
  ...changes,
})

const report: Report = {
  machine: {
    cpu: 'A processor',
    cores: 2,
    memoryMib: 4096,
    kernel: '6.1',
    loadBefore: 0.1,
    versions: { node: '24.0.0' },
    measurement: {
      isQuick: false,
      groups: [{ downloaders: 1, blobMib: 1024, rounds: 3 }],
      mibFromRegistry: 0,
    },
  },
  runs: summarise([
    transfer({}),
    transfer({ system: 'aria2', seconds: 5, holderSentBytes: null }),
    transfer({ downloaders: 4 }),
  ]),
}

describe('a median', () => {
  it('is the middle value, whatever the order', () => {
    expect(median([9, 1, 5])).toBe(5)
  })

  it('of an even number lies between the two in the middle', () => {
    expect(median([4, 1, 10, 2])).toBe(3)
  })

  it('compares numbers, not their digits', () => {
    expect(median([100, 9, 20])).toBe(20)
  })

  it('of nothing is an error', () => {
    expect(() => median([])).toThrow(RangeError)
  })
})

describe('the report', () => {
  it('has one row per system and number of downloaders, in the order measured', () => {
    const order = [transfer({}), transfer({ system: 'aria2' }), transfer({ downloaders: 8 }), transfer({})]
    expect(summarise(order).map(({ system, downloaders }) => [system, downloaders])).toEqual([
      ['shoal', 1],
      ['aria2', 1],
      ['shoal', 8],
    ])
  })

  it('takes each measure’s own median', () => {
    const transfers = [
      transfer({ seconds: 1, cpuSeconds: 4, peakRssBytes: 90 * MIB }),
      transfer({ seconds: 2, cpuSeconds: 2, peakRssBytes: 80 * MIB }),
      transfer({ seconds: 4, cpuSeconds: 3, peakRssBytes: 70 * MIB }),
    ]
    expect(summarise(transfers)).toEqual([
      {
        system: 'shoal',
        downloaders: 1,
        mibPerSecond: 512,
        cpuSecondsPerGib: 3,
        peakRssMib: 80,
        firstHolderCopies: 1,
      },
    ])
  })

  it('counts what all downloaders got, and copies by the blob', () => {
    const [run] = summarise([transfer({ downloaders: 4, holderSentBytes: 1536 * MIB, cpuSeconds: 8 })])
    expect(run).toMatchObject({ mibPerSecond: 2048, cpuSecondsPerGib: 2, firstHolderCopies: 1.5 })
  })

  it('says null where a system cannot tell what the holder sent', () => {
    expect(summarise([transfer({ holderSentBytes: null })])[0]!.firstHolderCopies).toBeNull()
  })

  it('names machine, versions, blob and rounds for people, and how Shoal compares', () => {
    const text = renderReport(report)
    for (const fact of [
      'A processor',
      'node 24.0.0',
      '1024 MiB to each of 1 (3 rounds)',
      'Shoal to 1: 2.50 × aria2',
    ]) {
      expect(text).toContain(fact)
    }
    expect(text).not.toMatch(/quick|registry/)
  })

  it('says so when Shoal had to ask the registry for what a peer held', () => {
    const measurement = { ...report.machine.measurement, mibFromRegistry: 64 }
    const text = renderReport({ ...report, machine: { ...report.machine, measurement } })
    expect(text).toContain('64 MiB of all that Shoal delivered came from the registry')
  })

  it('warns that a quick run is no result', () => {
    const measurement = { ...report.machine.measurement, isQuick: true }
    expect(renderReport({ ...report, machine: { ...report.machine, measurement } })).toContain('quick run')
  })

  it('is a Markdown table with as many cells in every row', () => {
    const rows = renderTable(report.runs).split('\n')
    expect(rows).toHaveLength(2 + report.runs.length)
    expect(new Set(rows.map((row) => row.split('|').length))).toEqual(new Set([8]))
    expect(rows[3]).toContain('cannot tell')
  })
})

describe('the plot', () => {
  const plot = renderPlot(report)
  const heights = [...plot.matchAll(/<rect x="[^"]*" y="[^"]*" width="[^"]*" height="([\d.]+)" fill/g)]
    .map(([, height]) => Number(height))
    .filter((height) => height !== 12)

  it('has a bar for every run in each of its two panels', () => {
    expect(heights).toHaveLength(2 * report.runs.length)
  })

  it('draws bars in proportion to their values', () => {
    const [shoal, aria2, four] = heights as [number, number, number]
    expect(shoal / aria2).toBeCloseTo(2.5, 1)
    expect(four / shoal).toBeCloseTo(4, 1)
  })

  it('labels every bar and every group', () => {
    for (const label of ['>512<', '>205<', '>2048<', '>1 downloader<', '>4 downloaders<', '>aria2<']) {
      expect(plot).toContain(label)
    }
  })
})

describe('the results page', () => {
  const page = [
    'Method.',
    '<!-- results of docs/performance/engine.json, written by npm run bench:plot -->',
    'old figures',
    '<!-- end of results -->',
    'How to repeat.',
  ].join('\n')

  it('keeps everything around the results and replaces them', () => {
    const written = withResults(page, report)
    expect(written).toMatch(/^Method\.\n/)
    expect(written).toMatch(/\nHow to repeat\.$/)
    expect(written).not.toContain('old figures')
    expect(written).toContain(renderTable(report.runs))
  })

  it('is the same when written twice', () => {
    expect(withResults(withResults(page, report), report)).toBe(withResults(page, report))
  })

  it('must have a place for results', () => {
    expect(() => withResults('no place', report)).toThrow()
  })
})

describe('rounds', () => {
  it('each begin with another system and leave none out', () => {
    expect(rotated(['a', 'b', 'c'], 0)).toEqual(['a', 'b', 'c'])
    expect(rotated(['a', 'b', 'c'], 4)).toEqual(['b', 'c', 'a'])
  })

  it('go on with the groups that still fit when time runs short', () => {
    const [quick, slow] = [
      { downloaders: 1, mib: 1 },
      { downloaders: 8, mib: 1 },
    ]
    const budget = new TimeBudget(1000)
    expect(budget.fits(slow, 999)).toBe(true)
    budget.took(quick, 100)
    budget.took(slow, 500)
    expect([quick, slow].map((group) => budget.fits(group, 400))).toEqual([true, true])
    expect([quick, slow].map((group) => budget.fits(group, 600))).toEqual([true, false])
    expect([quick, slow].map((group) => budget.fits(group, 900))).toEqual([false, false])
  })
})
