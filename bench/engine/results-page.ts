import type { Report } from './report.ts'
import { machineLines, ratioLines, renderTable, warningLines } from './table.ts'

/** A run writes the lines of docs/performance.md between these marks; everything around them is written by hand. */
const BEGIN = '<!-- results of docs/performance/engine.json, written by npm run bench:plot -->'
const END = '<!-- end of results -->'

/**
 * The page with the results of `report` in their place.
 * @throws Error when the page has no place for them
 */
export function withResults(page: string, report: Report): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin < 0 || end < begin) throw new Error('the page has no place for results')
  const results = [
    ...machineLines(report.machine).map((line) => `- ${line}`),
    '',
    '![Bars: MiB/s and CPU seconds per GiB of each system, warm](performance/engine.svg)',
    '',
    renderTable(report.runs),
    '',
    ...[...ratioLines(report.runs), ...warningLines(report.runs)].map((line) => `- ${line}`),
  ]
  return `${page.slice(0, begin)}${BEGIN}\n\n${results.join('\n')}\n\n${page.slice(end)}`
}
