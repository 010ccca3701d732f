import { CONDITIONS, type ConditionText } from '../core/condition-texts.ts'
import { CONDITION_CODES } from '../core/conditions.ts'
import { DOCTOR_FINDINGS } from '../core/doctor-texts.ts'
import { PULL_REASONS, type PullReason } from '../core/pull-reasons.ts'

/** The lines of docs/errors.md between which `npm run docs` writes the table of conditions. */
export const CONDITIONS_BEGIN = '<!-- conditions: written by npm run docs -->'
export const CONDITIONS_END = '<!-- end of conditions -->'

/** The lines of docs/status.md between which the table of reasons is. */
const REASONS_BEGIN = '<!-- reasons: written by npm run docs -->'
const REASONS_END = '<!-- end of reasons -->'

/** docs/status.md with the table of reasons as the source has it. */
export function withReasonsTable(page: string): string {
  const rows = Object.entries<PullReason>(PULL_REASONS).map(
    ([code, { text, remedy = '' }]) => `| \`${code}\` | ${cell(text)} | ${cell(remedy)} |`,
  )
  const lines = ['| reason | what it means | what to do |', '|---|---|---|', ...rows]
  return between(page, [REASONS_BEGIN, REASONS_END], lines.join('\n'))
}

/** The same for what only `shoal doctor` finds. */
export const FINDINGS_BEGIN = '<!-- findings: written by npm run docs -->'
export const FINDINGS_END = '<!-- end of findings -->'

/** docs/errors.md with the tables of conditions and findings as the source has them. */
export function withConditionsTable(page: string): string {
  const conditions = table(CONDITION_CODES.map((code) => [code, CONDITIONS[code]]))
  const findings = table(Object.entries(DOCTOR_FINDINGS))
  const first = between(page, [CONDITIONS_BEGIN, CONDITIONS_END], conditions)
  return between(first, [FINDINGS_BEGIN, FINDINGS_END], findings)
}

function between(page: string, [from, to]: [string, string], text: string): string {
  const begin = page.indexOf(from) + from.length
  const end = page.indexOf(to)
  if (begin < from.length || end < begin) throw new Error(`docs/errors.md has no place: ${from}`)
  return `${page.slice(0, begin)}\n\n${text}\n\n${page.slice(end)}`
}

function table(all: [string, ConditionText][]): string {
  const rows = all.map(
    ([code, { severity, text, cost, remedy }]) =>
      `| \`${code}\` | ${severity} | ${cell(text)} | ${cell(cost)} | ${cell(remedy)} |`,
  )
  return [
    '| condition | severity | what is so | what it costs | what to do |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
