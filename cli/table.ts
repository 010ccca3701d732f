import type { Outside } from '../core/command.ts'
import { plainText } from '../core/plain-text.ts'

/**
 * Tables and pages for people. Every text that is printed here may come from outside: it goes through `plainText`, and only
 * then gets its colours. Invariant: no line is longer than the page is wide.
 */

/** Wider lines are hard to read, whatever the terminal has. */
const PAGE_COLUMNS_MAX = 100
/** Narrower terminals wrap or cut lines themselves. */
const PAGE_COLUMNS_MIN = 80
/** Between two columns of a table. */
const GAP = '  '

export interface Look {
  /** Width of the page. */
  columns: number
  isColoured: boolean
}

/** Colours are for terminals, and only for those who want them (no-color.org). */
export function lookOf({ output, env }: Pick<Outside, 'output' | 'env'>): Look {
  const columns = Math.max(PAGE_COLUMNS_MIN, Math.min(PAGE_COLUMNS_MAX, output.columns))
  return { columns, isColoured: output.isTerminal && !env.NO_COLOR && env.TERM !== 'dumb' }
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
export type Style = keyof typeof CODES

/** @param text that is plain already */
export function painted(text: string, style: Style | undefined, { isColoured }: Look): string {
  if (!isColoured || style === undefined || text === '') return text
  return `\u001b[${CODES[style]}m${text}\u001b[0m`
}

export type Cell = string | { text: string; style?: Style | undefined }

export interface Column {
  title: string
  align?: 'left' | 'right'
  /** It gives way when the page is too narrow; one column has it. */
  isFlexible?: boolean
}

/** A table with a line of titles. @returns no lines without rows */
export function tableLines(columns: readonly Column[], rows: readonly Cell[][], look: Look): string[] {
  if (rows.length === 0) return []
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'string' ? { text: cell } : cell)))
  const texts = cells.map((row) => row.map(({ text }) => plainText(text)))
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

function widthsOf(columns: readonly Column[], texts: string[][], width: number): number[] {
  const natural = columns.map(({ title }, at) =>
    Math.max(title.length, ...texts.map((row) => (row[at] ?? '').length)),
  )
  const gaps = GAP.length * (columns.length - 1)
  const excess = natural.reduce((sum, one) => sum + one, gaps) - width
  const flexible = columns.findIndex(({ isFlexible }) => isFlexible)
  if (excess <= 0 || flexible < 0) return natural
  return natural.with(flexible, Math.max(columns[flexible]!.title.length, natural[flexible]! - excess, 0))
}

/** The end of a name says more than its beginning: the tag, the repository. */
export function cut(text: string, width: number): string {
  if (width < 1) return ''
  return text.length <= width ? text : `…${text.slice(text.length - width + 1)}`
}

/** Words of a text in lines, the first with `first` before it, the others as far in. Words that are too long are broken. */
export function wrappedLines(text: string, first: string, { columns }: Look): string[] {
  const room = Math.max(10, columns - first.length)
  const lines = ['']
  for (const word of plainText(text)
    .split(' ')
    .flatMap((one) => broken(one, room))) {
    const last = lines.at(-1)!
    if (last === '') lines[lines.length - 1] = word
    else if (last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines.map((line, index) => (index === 0 ? first : ' '.repeat(first.length)) + line)
}

function broken(word: string, room: number): string[] {
  const parts: string[] = []
  for (let at = 0; at < word.length; at += room) parts.push(word.slice(at, at + room))
  return parts
}

/** `4.2 s`, `3 min`, `2 h 5 min`, `6 days`. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 0.0995) return `${Number((seconds * 1000).toPrecision(2))} ms`
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 99.5) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return `${Math.round(hours / 24)} days`
}

/** `3 layers`, `1 layer`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
