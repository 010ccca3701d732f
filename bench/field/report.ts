import type { Bar, FieldRun, Problem } from './verdict.ts'
import { problemOf } from './verdict.ts'

/** A line of the report and what it is held to. */
export interface HeldRun {
  run: FieldRun
  bar: Bar
}

export interface FieldReport {
  runs: FieldRun[]
}

export function reportOf(held: HeldRun[]): FieldReport {
  return { runs: held.map(({ run }) => run) }
}

/** A terminal's width. */
export const COLUMNS_MAX = 100
const TITLES = ['case', 'variant', 'direct', 'Shoal', 'copies', 'verdict', 'reason']
/** All but the reason, which takes what is left of the line. */
const WIDTHS = [18, 18, 6, 6, 6, 10]
const REASON_WIDTH = COLUMNS_MAX - WIDTHS.reduce((sum, width) => sum + width + 1, 0)

/** For people: one line per situation, and a last one that counts. */
export function renderField(held: HeldRun[]): string {
  const problems = held.map(({ run, bar }) => problemOf(run, bar))
  const kept = problems.filter((problem) => problem === undefined).length
  return [
    lineOf(TITLES),
    ...held.map(({ run }, index) => lineOf(cellsOf(run, problems[index]))),
    '',
    `${kept} of ${held.length} keep the promise: as well as the direct pull, no slower, shared where it can be.`,
  ].join('\n')
}

function cellsOf(run: FieldRun, problem: Problem | undefined): string[] {
  return [
    run.case,
    run.variant,
    run.directOk ? run.directSeconds.toFixed(2) : 'fails',
    run.shoalOk ? run.shoalSeconds.toFixed(2) : 'fails',
    run.registryCopies.toFixed(2),
    problem ?? 'ok',
    run.reason,
  ]
}

function lineOf(cells: string[]): string {
  return cells
    .map((cell, column) => {
      const width = WIDTHS[column] ?? REASON_WIDTH
      const fitting = cell.length > width ? `${cell.slice(0, width - 1)}…` : cell
      return column >= 2 && column <= 4 ? fitting.padStart(width) : fitting.padEnd(width)
    })
    .join(' ')
    .trimEnd()
}
