import { plainJson } from '../../core/plain-text.ts'
import { counted, GRAVITY, type Look, painted, wrappedLines } from '../table.ts'
import type { LinkReport } from './examine.ts'
import { type Finding, type Level, worstOf } from './finding.ts'

/** What a person and a script read of the links. */

/** Of the longest word, with the gap behind it. */
const WORD_WIDTH = 9

export function reportText(reports: LinkReport[], look: Look): string {
  const linkWidth = Math.max(...reports.map(({ link }) => link.length)) + 2
  const lines = reports.flatMap(({ link, findings }) =>
    findings.flatMap((finding, at) => linesOf(finding, (at === 0 ? link : '').padEnd(linkWidth), look)),
  )
  return `${lines.join('\n')}\n\n${summary(reports, look)}\n`
}

function linesOf({ level, text, code, detail, remedy }: Finding, link: string, look: Look): string[] {
  const isWrong = code !== undefined && level !== 'info'
  const word = GRAVITY[level].word.padEnd(WORD_WIDTH)
  const head = wrappedLines(isWrong ? `${text} (${code})` : text, link + word, look)
  const indent = ' '.repeat(link.length + WORD_WIDTH)
  return [
    ...head.map((line, at) =>
      at === 0 ? link + painted(word, GRAVITY[level].style, look) + line.slice(indent.length) : line,
    ),
    ...(detail === undefined ? [] : wrappedLines(detail, indent, look)),
    ...(remedy === undefined || !isWrong ? [] : wrappedLines(remedy, `${indent}→ `, look)),
  ]
}

function summary(reports: LinkReport[], look: Look): string {
  const all = reports.flatMap(({ findings }) => findings)
  const count = (level: Level) => all.filter((finding) => finding.level === level).length
  const [errors, warnings, unknowns] = [count('error'), count('warning'), count('unknown')]
  const wrong = [
    ...(errors === 0 ? [] : [counted(errors, 'error')]),
    ...(warnings === 0 ? [] : [counted(warnings, 'warning')]),
  ].join(', ')
  const head = `${painted('●', GRAVITY[worstOf(all)].style, look)} ${painted(wrong === '' ? 'Nothing is wrong.' : `${wrong}.`, 'bold', look)}`
  return unknowns === 0 ? head : `${head} ${counted(unknowns, 'check')} could not be made (?).`
}

/** For scripts; stable (docs/doctor.md). */
export function reportJson(reports: LinkReport[]): string {
  const worst = worstOf(reports.flatMap(({ findings }) => findings))
  return `${plainJson({ worst, links: reports }, 2)}\n`
}

/** Exit codes; 2 is for a command line with a mistake, as everywhere. */
export function exitCodeOf(reports: LinkReport[]): number {
  const worst = worstOf(reports.flatMap(({ findings }) => findings))
  return worst === 'error' ? 1 : worst === 'warning' ? 3 : 0
}
