import { describe, expect, it } from 'vitest'
import { renderPlot } from '../../bench/engine/plot.ts'
import { type Report, slowPumps, summarise, type Transfer } from '../../bench/engine/report.ts'
import { withResults } from '../../bench/engine/results-page.ts'
import { rotated, TimeBudget } from '../../bench/engine/rounds.ts'
import { renderReport, renderTable } from '../../bench/engine/table.ts'
import { needed } from '../../bench/engine/turn.ts'
import { median } from '../../bench/measure/median.ts'

const MIB = 2 ** 20

const transfer = (changes: Partial<Transfer>): Transfer => ({
  system: 'shoal',
  state: 'warm',
  downloaders: 1,
  blobBytes: 1024 * MIB,
  round: 1,
  attempt: 1,
  isCounted: true,
  seconds: 2,
  cpuSeconds: 3,
  othersCores: 0,
  idleCores: 0.5,
  stealCores: 0,
  peakRssBytes: 100 * MIB,
  holderSentBytes: 1024 * MIB,
  registrySentBytes: null,
  bytesFromElsewhere: 0,
  ...changes,
})

const transfers = [
  transfer({}),
  transfer({ system: 'aria2', seconds: 5, holderSentBytes: null }),
  transfer({ downloaders: 4 }),
]

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
      minutes: 12.3,
      groups: [{ downloaders: 1, blobMib: 1024, rounds: 3 }],
      mibFromRegistry: 0,
    },
  },
  runs: summarise(transfers),
  transfers,
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
  it('has one row per system, state, number and size, in the order measured', () => {
    const order = [
      ...[transfer({}), transfer({ system: 'aria2' }), transfer({ downloaders: 8 })],
      ...[transfer({ state: 'cold' }), transfer({ blobBytes: 256 * MIB }), transfer({})],
    ]
    const keys = summarise(order).map((run) => [run.system, run.state, run.downloaders, run.blobMib])
    expect(keys).toEqual([
      ['shoal', 'warm', 1, 1024],
      ['aria2', 'warm', 1, 1024],
      ['shoal', 'warm', 8, 1024],
      ['shoal', 'cold', 1, 1024],
      ['shoal', 'warm', 1, 256],
    ])
  })

  it('takes each measure’s own median', () => {
    const transfers = [
      transfer({ seconds: 1, cpuSeconds: 4, peakRssBytes: 90 * MIB, idleCores: 0.1 }),
      transfer({ seconds: 2, cpuSeconds: 2, peakRssBytes: 80 * MIB, idleCores: 0.3 }),
      transfer({ seconds: 4, cpuSeconds: 3, peakRssBytes: 70 * MIB, idleCores: 0.2 }),
    ]
    expect(summarise(transfers)).toEqual([
      {
        system: 'shoal',
        state: 'warm',
        downloaders: 1,
        blobMib: 1024,
        mibPerSecond: 512,
        cpuSecondsPerGib: 3,
        peakRssMib: 80,
        firstHolderCopies: 1,
        registryCopies: null,
        othersCores: 0,
        idleCores: 0.2,
        stealCores: 0,
        transfers: 3,
        discarded: 0,
      },
    ])
  })

  it('leaves out what was run again, and says how often', () => {
    const [run] = summarise([
      transfer({ seconds: 8, othersCores: 0.9, isCounted: false }),
      transfer({ seconds: 2, othersCores: 0.1, attempt: 2 }),
    ])
    expect(run).toMatchObject({ mibPerSecond: 512, othersCores: 0.1, transfers: 1, discarded: 1 })
  })

  it('names the most that others used in a transfer that counts, not the median', () => {
    const used = [0.02, 0.19, 0.01].map((othersCores) => transfer({ othersCores }))
    expect(summarise(used)[0]!.othersCores).toBe(0.19)
  })

  it('counts the registry’s copies of a cold blob', () => {
    const [run] = summarise([
      transfer({ state: 'cold', holderSentBytes: null, registrySentBytes: 1044 * MIB, downloaders: 4 }),
    ])
    expect(run).toMatchObject({ registryCopies: 1.02, firstHolderCopies: null })
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
      'in 12.3 minutes',
      'Shoal to 1, warm, 1024 MiB: 2.50 × aria2',
    ]) {
      expect(text).toContain(fact)
    }
    expect(text).not.toMatch(/short run|from the registry|slow|Disturbed/)
  })

  it('compares processor time with the pump’s, and a cold transfer with a warm one', () => {
    const text = renderReport({
      ...report,
      runs: summarise([
        transfer({ cpuSeconds: 3 }),
        transfer({ system: 'pump', cpuSeconds: 2 }),
        transfer({ state: 'cold', cpuSeconds: 4.5 }),
      ]),
    })
    expect(text).toContain('Shoal to 1, warm, 1024 MiB: 1.50 × the pump')
    expect(text).toContain('Shoal to 1, cold, 1024 MiB: 1.50 × its own CPU warm')
  })

  it('says so when the pump was slower than a run that counts may have it', () => {
    const runs = summarise([
      transfer({ system: 'pump', cpuSeconds: 2.3 }),
      transfer({ system: 'pump', cpuSeconds: 10.4, downloaders: 4 }),
      transfer({ system: 'pump', state: 'fresh', cpuSeconds: 9 }),
    ])
    expect(slowPumps(runs).map(({ downloaders }) => downloaders)).toEqual([1])
    expect(renderReport({ ...report, runs })).toContain('the warm pump to 1 took 2.30 CPU s per GiB')
  })

  it('says which rows were disturbed in every attempt', () => {
    const runs = summarise([transfer({ othersCores: 0.42 })])
    expect(renderReport({ ...report, runs })).toContain('Disturbed in every attempt: shoal warm')
  })

  it('says so when Shoal had to ask the registry for what a peer held', () => {
    const measurement = { ...report.machine.measurement, mibFromRegistry: 64 }
    const text = renderReport({ ...report, machine: { ...report.machine, measurement } })
    expect(text).toContain('64 MiB of all that Shoal delivered came from the registry')
  })

  it.each([
    ['a quick run', { isQuick: true }],
    ['two rounds', { groups: [{ downloaders: 8, blobMib: 256, rounds: 2 }] }],
  ])('warns that %s is no result', (_, changes) => {
    const measurement = { ...report.machine.measurement, ...changes }
    expect(renderReport({ ...report, machine: { ...report.machine, measurement } })).toContain('short run')
  })

  it('is a Markdown table with as many cells in every row', () => {
    const rows = renderTable(report.runs).split('\n')
    expect(rows).toHaveLength(2 + report.runs.length)
    expect(new Set(rows.map((row) => row.split('|').length))).toEqual(new Set([15]))
    expect(rows[3]).toMatch(/aria2.*\|\s+–\s+\|\s+–\s+\|/)
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

describe('the states of a turn', () => {
  const registry = {} as never

  it('begin with fresh processes, even when only a later one is wanted', () => {
    expect(needed(['warm'], { registry })).toEqual(['fresh', 'warm'])
    expect(needed(['cold'], { registry })).toEqual(['fresh', 'cold'])
    expect(needed(['fresh'], { registry })).toEqual(['fresh'])
  })

  it('are without a cold one where there is no registry', () => {
    expect(needed(['fresh', 'warm', 'cold'], {})).toEqual(['fresh', 'warm'])
    expect(needed(['cold'], {})).toEqual([])
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
