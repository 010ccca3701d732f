import { stripVTControlCharacters, styleText } from 'node:util'
import type { LinkReport } from './examine.ts'
import { type Finding, type Level, worstOf } from './finding.ts'

/** What a person and a script read of the links. */

export interface Page {
  columns: number
  isTerminal: boolean
}

/** Prose is not wider, however wide the terminal is. */
const WIDTH_MAX = 100
/** Lines are not shorter, however narrow the terminal is. */
const WIDTH_MIN = 40

const WORDS: Record<Level, string> = {
  ok: 'ok',
  info: 'note',
  unknown: '?',
  warning: 'warning',
  error: 'ERROR',
}
const STYLES: Record<Level, Parameters<typeof styleText>[0]> = {
  ok: 'green',
  info: 'cyan',
  unknown: 'dim',
  warning: 'yellow',
  error: ['red', 'bold'],
}

export function reportText(reports: LinkReport[], { columns, isTerminal }: Page): string {
  const width = Math.max(WIDTH_MIN, Math.min(columns, WIDTH_MAX))
  const linkWidth = Math.max(...reports.map(({ link }) => link.length)) + 2
  const style = (level: Level, text: string) =>
    isTerminal ? styleText(STYLES[level], text, { validateStream: false }) : text
  const lines = reports.flatMap(({ link, findings }) =>
    findings.flatMap((finding, index) =>
      linesOf(finding, index === 0 ? link : '', { width, linkWidth, style }),
    ),
  )
  return `${lines.join('\n')}\n\n${summary(reports, style)}\n`
}

interface Form {
  width: number
  linkWidth: number
  style: (level: Level, text: string) => string
}

function linesOf(finding: Finding, link: string, { width, linkWidth, style }: Form): string[] {
  const { level, text, code, detail, remedy } = finding
  const isShown = code !== undefined && level !== 'info'
  const indent = linkWidth + 9
  const body = [
    ...wrapped(isShown ? `${text} (${code})` : text, width - indent),
    ...(detail === undefined ? [] : wrapped(detail, width - indent)),
    ...(remedy === undefined || level === 'info' ? [] : marked('→ ', wrapped(remedy, width - indent - 2))),
  ]
  const head = `${link.padEnd(linkWidth)}${style(level, WORDS[level].padEnd(9))}`
  return body.map((line, index) => `${index === 0 ? head : ' '.repeat(indent)}${line}`)
}

function marked(mark: string, lines: string[]): string[] {
  return lines.map((line, index) => `${index === 0 ? mark : ' '.repeat(mark.length)}${line}`)
}

/** A word that is longer than a line stands alone and is not broken: it is to be copied. */
function wrapped(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(' ')) {
    const longer = lines.at(-1) === '' ? word : `${lines.at(-1)} ${word}`
    if (stripVTControlCharacters(longer).length <= width || lines.at(-1) === '')
      lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}

function summary(reports: LinkReport[], style: Form['style']): string {
  const all = reports.flatMap(({ findings }) => findings)
  const count = (level: Level) => all.filter((finding) => finding.level === level).length
  const [errors, warnings, unknowns] = [count('error'), count('warning'), count('unknown')]
  const named = (number: number, one: string) =>
    number === 0 ? [] : [`${number} ${one}${number === 1 ? '' : 's'}`]
  const wrong = [...named(errors, 'error'), ...named(warnings, 'warning')].join(', ')
  const head = wrong === '' ? 'Nothing is wrong.' : `${wrong}.`
  const hidden = unknowns === 0 ? '' : ` ${unknowns} could not be looked at (?).`
  return `${style(worstOf(all), head)}${hidden}`
}

/** For scripts; stable (docs/doctor.md). */
export function reportJson(reports: LinkReport[]): string {
  const worst = worstOf(reports.flatMap(({ findings }) => findings))
  return `${JSON.stringify({ worst, links: reports }, null, 2)}\n`
}

/** Exit codes; 2 is for a command line with a mistake, as everywhere. */
export function exitCodeOf(reports: LinkReport[]): number {
  const worst = worstOf(reports.flatMap(({ findings }) => findings))
  return worst === 'error' ? 1 : worst === 'warning' ? 3 : 0
}
