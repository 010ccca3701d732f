import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { findEntry } from '../../cli/command-tree.ts'
import { helpText } from '../../cli/help.ts'
import {
  type Column,
  filledLines,
  lookOf,
  PLAIN,
  painted,
  tableLines,
  wrappedLines,
} from '../../cli/table.ts'
import { TREE } from '../../cli/tree.ts'

const look = (
  { isTerminal = true, columns = 80 }: { isTerminal?: boolean; columns?: number },
  env: Record<string, string> = {},
) => lookOf({ output: { isTerminal, columns }, env })

describe('colours', () => {
  it.each<[string, boolean, Record<string, string>, boolean]>([
    ['are on a terminal', true, {}, true],
    ['are not in a pipe', false, {}, false],
    ['are not where NO_COLOR is set', true, { NO_COLOR: '1' }, false],
    ['are there with an empty NO_COLOR', true, { NO_COLOR: '' }, true],
    ['are not on a dumb terminal', true, { TERM: 'dumb' }, false],
    ['are in a pipe with FORCE_COLOR', false, { FORCE_COLOR: '1' }, true],
    ['are there with FORCE_COLOR, whatever NO_COLOR says', true, { FORCE_COLOR: '1', NO_COLOR: '1' }, true],
    ['are not on a terminal with FORCE_COLOR=0', true, { FORCE_COLOR: '0' }, false],
    ['are not in a pipe with an empty FORCE_COLOR', false, { FORCE_COLOR: '' }, false],
  ])('%s', (_what, isTerminal, env, expected) => {
    expect(look({ isTerminal }, env).isColoured).toBe(expected)
    expect(painted('x', 'red', look({ isTerminal }, env))).toBe(expected ? '\u001b[31mx\u001b[0m' : 'x')
  })
})

describe('a page', () => {
  it.each([
    [80, 80],
    [120, 100],
    [20, 60],
    [0, 100],
  ])('on a terminal of %d columns has lines of %d', (columns, expected) => {
    expect(look({ columns }).columns).toBe(expected)
  })

  it('of help says the same in a pipe as on a terminal, in 100 columns and without an escape', async () => {
    const found = findEntry(TREE, ['tracker', '--help'])
    const onTerminal = await helpText(found, look({ columns: 120 }))
    const inPipe = await helpText(found, PLAIN)
    expect(onTerminal).toContain('\u001b[1mUsage:\u001b[0m')
    expect(inPipe).not.toContain('\u001b')
    expect(stripVTControlCharacters(onTerminal)).toBe(inPipe)
  })
})

describe('a table', () => {
  const columns: Column[] = [
    { title: 'NAME', isFlexible: true },
    { title: 'SIZE', align: 'right' },
  ]
  const narrow = { columns: 20, isColoured: false }

  it('cuts its flexible column at the front, where names say least', () => {
    expect(tableLines(columns, [['registry.example.com/team/app', '5 MiB']], narrow)).toEqual([
      'NAME            SIZE',
      '…com/team/app  5 MiB',
    ])
  })

  it('lets spare columns leave, the last first, before its flexible column is cut below 24 characters', () => {
    const spare: Column[] = [
      { title: 'NAME', isFlexible: true },
      { title: 'SIZE', isSpare: true },
      { title: 'STATE' },
      { title: 'SINCE', isSpare: true },
    ]
    const row = ['registry.example.com/team/app', '5 MiB', 'ok', 'yesterday']
    const at = (columns: number) => tableLines(spare, [row], { columns, isColoured: false })[1]
    expect(at(49)).toBe('…ry.example.com/team/app  5 MiB  ok     yesterday')
    expect(at(40)).toBe('…stry.example.com/team/app  5 MiB  ok')
    expect(at(36)).toBe('registry.example.com/team/app  ok')
  })

  it('is as wide as the page at most, whatever its cells have', () => {
    const rows = [['registry.example.com/team/app', '5 MiB', 'x'.repeat(90)]]
    const wide: Column[] = [...columns, { title: 'WHY' }]
    for (const line of tableLines(wide, rows, { columns: 60, isColoured: false }))
      expect(line.length).toBeLessThanOrEqual(60)
  })

  it('has no titles without rows', () => expect(tableLines(columns, [], PLAIN)).toEqual([]))
})

describe('words', () => {
  it('that are too long are broken in a page, and stay whole where they are to be copied', () => {
    const narrow = { columns: 14, isColoured: false }
    expect(wrappedLines('a bcdefghijklmnop q', '  ', narrow)).toEqual(['  a', '  bcdefghijklm', '  nop q'])
    expect(filledLines(['a', 'bcdefghijklmnop', 'q'], 12)).toEqual(['a', 'bcdefghijklmnop', 'q'])
  })
})
