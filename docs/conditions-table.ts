import { CONDITIONS, type ConditionText } from '../core/condition-texts.ts'
import { CONDITION_CODES } from '../core/conditions.ts'
import { PULL_REASONS, type PullReason } from '../core/pull-reasons.ts'

/** The lines of docs/errors.md between which `npm run docs` writes the table of conditions. */
export const CONDITIONS_BEGIN = '<!-- conditions: written by npm run docs -->'
export const CONDITIONS_END = '<!-- end of conditions -->'

/** The lines of docs/status.md between which the table of reasons is. */
const REASONS_BEGIN = '<!-- reasons: written by npm run docs -->'
const REASONS_END = '<!-- end of reasons -->'

/** docs/status.md with the table of reasons as the source has it. */
export function withReasonsTable(page: string): string {
  const begin = page.indexOf(REASONS_BEGIN) + REASONS_BEGIN.length
  const end = page.indexOf(REASONS_END)
  if (begin < REASONS_BEGIN.length || end < begin) throw new Error('docs/status.md has no place for reasons')
  const rows = Object.entries<PullReason>(PULL_REASONS).map(
    ([code, { text, remedy = '' }]) => `| \`${code}\` | ${cell(text)} | ${cell(remedy)} |`,
  )
  const lines = ['| reason | what it means | what to do |', '|---|---|---|', ...rows]
  return `${page.slice(0, begin)}\n\n${lines.join('\n')}\n\n${page.slice(end)}`
}

/** docs/errors.md with the table of conditions as the source has it. */
export function withConditionsTable(page: string): string {
  const begin = page.indexOf(CONDITIONS_BEGIN) + CONDITIONS_BEGIN.length
  const end = page.indexOf(CONDITIONS_END)
  if (begin < CONDITIONS_BEGIN.length || end < begin)
    throw new Error('docs/errors.md has no place for conditions')
  return `${page.slice(0, begin)}\n\n${table()}\n\n${page.slice(end)}`
}

function table(): string {
  const rows = CONDITION_CODES.map((code) => {
    const { severity, text, cost, remedy }: ConditionText = CONDITIONS[code]
    return `| \`${code}\` | ${severity} | ${cell(text)} | ${cell(cost)} | ${cell(remedy)} |`
  })
  return [
    '| condition | severity | what is so | what it costs | what to do |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
