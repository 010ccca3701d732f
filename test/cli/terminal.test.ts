import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { findEntry } from '../../cli/command-tree.ts'
import { helpText } from '../../cli/help.ts'
import { styleFor } from '../../cli/terminal.ts'
import { TREE } from '../../cli/tree.ts'

const isBold = (style: ReturnType<typeof styleFor>) => style.bold('x') !== 'x'

describe('the style of text', () => {
  it('has escapes on a terminal only, and none where NO_COLOR is set or the terminal is dumb', () => {
    expect(isBold(styleFor({ isTTY: true, columns: 80 }, {}))).toBe(true)
    expect(isBold(styleFor({}, {}))).toBe(false)
    expect(isBold(styleFor({ isTTY: true, columns: 80 }, { NO_COLOR: '1' }))).toBe(false)
    expect(isBold(styleFor({ isTTY: true, columns: 80 }, { NO_COLOR: '' }))).toBe(true)
    expect(isBold(styleFor({ isTTY: true, columns: 80 }, { TERM: 'dumb' }))).toBe(false)
  })

  it.each([
    [80, 80],
    [120, 100],
    [20, 60],
    [0, 100],
  ])('on a terminal of %d columns has lines of %d', (columns, expected) => {
    expect(styleFor({ isTTY: true, columns }, {}).columns).toBe(expected)
  })

  it('is plain in a pipe: help says the same there, in 100 columns and without an escape', async () => {
    const found = findEntry(TREE, ['tracker', '--help'])
    const onTerminal = await helpText(found, styleFor({ isTTY: true, columns: 120 }, {}))
    const inPipe = await helpText(found, styleFor({}, {}))
    expect(onTerminal).toContain('\x1b[1mUsage:\x1b[22m')
    expect(inPipe).not.toContain('\x1b')
    expect(stripVTControlCharacters(onTerminal)).toBe(inPipe)
  })
})
