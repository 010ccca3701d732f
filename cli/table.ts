import type { Outside } from '../core/command.ts'
import { plainText } from '../core/plain-text.ts'

/**
 * Tables and pages for people. Every text that is printed here may come from outside: it goes through `plainText`, and only
 * then gets its colours. Invariant: no line is longer than the page is wide.
 */

/** Wider lines are hard to read, whatever the terminal has. */
const PAGE_COLUMNS_MAX = 100
/** Narrower terminals wrap or cut lines themselves. */
const PAGE_COLUMNS_MIN = 60
/** Between two columns of a table. */
const GAP = '  '
/** A flexible column that would get less than this makes spare columns leave. */
const FLEXIBLE_CHARS_MIN = 24

export interface Look {
  /** Width of the page. */
  columns: number
  isColoured: boolean
}

/** For a file, a pipe, a man page. */
export const PLAIN: Look = { columns: PAGE_COLUMNS_MAX, isColoured: false }

/**
 * Colours are for terminals. FORCE_COLOR asks for them elsewhere too, or with 0 for none (as Node.js does); without it
 * NO_COLOR takes them away (no-color.org). Empty variables are absent.
 */
export function lookOf({ output, env }: Surroundings): Look {
  // A serial console says 0.
  const wanted = output.columns || PAGE_COLUMNS_MAX
  const columns = Math.max(PAGE_COLUMNS_MIN, Math.min(PAGE_COLUMNS_MAX, wanted))
  const isCapable = output.isTerminal && !env.NO_COLOR && env.TERM !== 'dumb'
  return { columns, isColoured: env.FORCE_COLOR ? !/^(0|false)$/.test(env.FORCE_COLOR) : isCapable }
}

interface Surroundings {
  output: Pick<Outside['output'], 'isTerminal' | 'columns'>
  env: Outside['env']
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
export type Style = keyof typeof CODES

/** @param text that is plain already */
export function painted(text: string, style: Style | undefined, { isColoured }: Look): string {
  if (!isColoured || style === undefined || text === '') return text
  return `\u001b[${CODES[style]}m${text}\u001b[0m`
}

/** How grave something is, in words and colours; the gravest last. */
export const GRAVITY = {
  ok: { word: 'ok', style: 'green' },
  info: { word: 'note', style: 'cyan' },
  unknown: { word: '?', style: 'dim' },
  warning: { word: 'warning', style: 'yellow' },
  error: { word: 'error', style: 'red' },
} as const satisfies Record<string, { word: string; style: Style }>

export type Cell = string | { text: string; style?: Style | undefined }

export interface Column {
  title: string
  align?: 'left' | 'right'
  /** It gives way when the page is too narrow; one column has it. */
  isFlexible?: boolean
  /** It leaves a page that is too narrow, the last such column first. */
  isSpare?: boolean
}

/** A table with a line of titles. @returns no lines without rows */
export function tableLines(all: readonly Column[], rows: readonly Cell[][], look: Look): string[] {
  if (rows.length === 0) return []
  const whole = rows.map((row) =>
    row.map((cell) => {
      const { text, style } = typeof cell === 'string' ? { text: cell } : cell
      return { text: plainText(text), style }
    }),
  )
  const shown = shownColumns(all, whole, look.columns)
  const columns = shown.map((at) => all[at]!)
  const cells = whole.map((row) => shown.map((at) => row[at] ?? { text: '', style: undefined }))
  const texts = cells.map((row) => row.map(({ text }) => text))
  const widths = widthsOf(columns, texts, look.columns)
  const line = (row: string[], styleAt: (at: number) => Style | undefined) =>
    columns
      .map(({ align }, at) => {
        const text = cut(row[at] ?? '', widths[at]!)
        const isLast = at === columns.length - 1
        const space = align !== 'right' && isLast ? '' : ' '.repeat(widths[at]! - text.length)
        const shown = painted(text, styleAt(at), look)
        return align === 'right' ? space + shown : shown + space
      })
      .join(GAP)
      .trimEnd()
  const titles = line(
    columns.map(({ title }) => title),
    () => 'dim',
  )
  return [titles, ...texts.map((row, index) => line(row, (at) => cells[index]![at]?.style))]
}

/** Indices of the columns that the page has room for. */
function shownColumns(columns: readonly Column[], rows: { text: string }[][], width: number): number[] {
  const texts = rows.map((row) => row.map(({ text }) => text))
  const least = naturalWidths(columns, texts).map((natural, at) =>
    columns[at]!.isFlexible ? Math.min(natural, FLEXIBLE_CHARS_MIN) : natural,
  )
  let shown = columns.map((_, at) => at)
  for (;;) {
    const needed = shown.reduce((sum, at) => sum + least[at]!, GAP.length * (shown.length - 1))
    const spare = shown.findLast((at) => columns[at]!.isSpare)
    if (needed <= width || spare === undefined) return shown
    shown = shown.filter((at) => at !== spare)
  }
}

function naturalWidths(columns: readonly Column[], texts: string[][]): number[] {
  return columns.map(({ title }, at) => Math.max(title.length, ...texts.map((row) => (row[at] ?? '').length)))
}

function widthsOf(columns: readonly Column[], texts: string[][], width: number): number[] {
  const natural = naturalWidths(columns, texts)
  const gaps = GAP.length * (columns.length - 1)
  const excessOf = (widths: number[]) => widths.reduce((sum, one) => sum + one, gaps) - width
  const flexible = columns.findIndex(({ isFlexible }) => isFlexible)
  const widths = natural.map((one, at) =>
    at === flexible ? Math.max(columns[at]!.title.length, one - Math.max(0, excessOf(natural))) : one,
  )
  // What is left is taken from whichever columns are widest.
  for (let excess = excessOf(widths); excess > 0; excess--) widths[widths.indexOf(Math.max(...widths))]! -= 1
  return widths
}

/** The end of a name says more than its beginning: the tag, the repository. */
export function cut(text: string, width: number): string {
  if (width < 1) return ''
  return text.length <= width ? text : `…${text.slice(text.length - width + 1)}`
}

/** Words of a text in lines, the first with `first` before it, the others as far in. Words that are too long are broken. */
export function wrappedLines(text: string, first: string, { columns }: Look): string[] {
  const room = Math.max(10, columns - first.length)
  const words = plainText(text)
    .split(' ')
    .flatMap((one) => broken(one, room))
  return filledLines(words, room).map(
    (line, index) => (index === 0 ? first : ' '.repeat(first.length)) + line,
  )
}

/** As many words in each line as fit; a word that is too long stays whole, so that it can be copied. */
export function filledLines(words: readonly string[], room: number): string[] {
  const lines = ['']
  for (const word of words) {
    const last = lines.at(-1)!
    if (last === '') lines[lines.length - 1] = word
    else if (last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

function broken(word: string, room: number): string[] {
  const parts: string[] = []
  for (let at = 0; at < word.length; at += room) parts.push(word.slice(at, at + room))
  return parts
}

/** `3 layers`, `1 layer`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
