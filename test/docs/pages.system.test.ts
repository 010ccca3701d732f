import { existsSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { ROOT, textOf } from '../tidy/source-files.ts'
import { linesOfPage } from './page-lines.ts'
import { typeLines } from './page-machine.ts'
import type { LineResult } from './page-machine-main.ts'
import { NOT_HERE, OTHER_CODES, SAYS } from './page-table.ts'

/** What the pages tell their readers to type is typed, in the order of the pages, on one machine that begins with nothing. */

const PAGES = ['getting-started', 'operating', 'incidents', 'troubleshooting', 'lifecycle'].map(
  (name) => `docs/${name}.md`,
)
const ALL_MS_MAX = 240_000

const lines = PAGES.flatMap((page) => linesOfPage(page, textOf(page)))
const isHere = ({ text }: { text: string }) => !NOT_HERE.some(({ line }) => line.test(text))

describe('lines of pages', () => {
  it('are found', () => expect(lines.length).toBeGreaterThan(80))

  it('that are not run are those of a table without old rows, and another test runs them', () => {
    expect(NOT_HERE.filter(({ line }) => !lines.some(({ text }) => line.test(text)))).toEqual([])
    expect(NOT_HERE.filter(({ test }) => !existsSync(`${ROOT}/${test}`))).toEqual([])
    expect(lines.filter(isHere).length).toBeGreaterThan(lines.length * 0.7)
  })
})

describe.skipIf(mustSkipFor(['linux', 'root', 'unshare', 'ip', 'curl']))('on a machine', () => {
  let results: LineResult[]
  beforeAll(async () => {
    results = await typeLines(lines.filter(isHere))
  }, ALL_MS_MAX)

  it('every rule of the tables is about a line', () => {
    const rules = [...OTHER_CODES, ...SAYS].filter(({ line }) => !results.some(({ text }) => line.test(text)))
    expect(rules).toEqual([])
  })

  it.each(PAGES)('what %s tells to type does what it says', (page) => {
    const failed = results
      .filter((result) => result.page === page && !isWell(result))
      .map(({ number, text, code, output }) => `${page}:${number} ${text} -> ${code}: ${output.slice(-600)}`)
    expect(failed).toEqual([])
    expect(results.filter((result) => result.page === page).length).toBeGreaterThan(0)
  })
})

function isWell({ text, code, output }: LineResult): boolean {
  // The admin API says no with a status that curl does not pass on.
  if (/\bcurl\b/.test(text) && /"error"/.test(output)) return false
  if (SAYS.some(({ line, words }) => line.test(text) && !words.test(output))) return false
  const others = OTHER_CODES.filter(({ line }) => line.test(text)).flatMap(({ codes }) => codes)
  return [0, ...others].includes(code ?? -1)
}
