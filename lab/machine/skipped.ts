import { appendFileSync, existsSync, readFileSync } from 'node:fs'

/**
 * What tests skip because the machine lacks something. `npm test` names a file in the environment, each test file notes
 * there what it skips, and the run ends with a line for each kind. On continuous integration nothing is skipped.
 */

/** Of the environment. */
export const SKIPPED_FILE = 'SHOAL_SKIPPED_FILE'

export interface Skipped {
  /** What the machine lacks, as a heading: `root`, `Debian packages`. */
  kind: string
  /** Of the kind, by name; empty where the kind says it all. */
  lacks: string[]
  /** The line that gets it, with `{}` for what is lacking. */
  remedy: string
}

interface Noted extends Skipped {
  testFile: string
}

/** @returns whether the caller must skip: on continuous integration a missing part fails the run instead */
export function isSkippedFor(skipped: Skipped[]): boolean {
  if (skipped.length === 0 || process.env.CI) return false
  const path = process.env[SKIPPED_FILE]
  const testFile = testFileOfCaller()
  for (const one of skipped) {
    if (path === undefined) console.warn(lineOf(one.kind, [{ ...one, testFile }]))
    else appendFileSync(path, `${JSON.stringify({ ...one, testFile } satisfies Noted)}\n`)
  }
  return true
}

/** One line for each kind of what was noted in the file. */
export function skippedLines(path: string): string[] {
  const noted = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').filter(Boolean) : []
  const byKind = Map.groupBy(
    noted.map((line) => JSON.parse(line) as Noted),
    ({ kind }) => kind,
  )
  return [...byKind].sort(([one], [other]) => (one < other ? -1 : 1)).map(([kind, of]) => lineOf(kind, of))
}

function lineOf(kind: string, noted: Noted[]): string {
  const lacks = sorted(noted.flatMap((one) => one.lacks))
  const files = sorted(noted.map(({ testFile }) => testFile))
  const remedy = noted[0]!.remedy.replace('{}', lacks.join(' '))
  return `skipped for lack of ${kind}, in ${files.length} files (${files.join(', ')}): ${remedy}`
}

const sorted = (words: string[]) => [...new Set(words)].sort()

/** Below `test/`, without the ending; several files share what they tell. */
function testFileOfCaller(): string {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 50
  const { stack = '' } = new Error()
  Error.stackTraceLimit = stackTraceLimit
  return /\/test\/([a-z0-9/-]+)(?:\.system|\.full)?\.test\.ts/.exec(stack)?.[1] ?? 'a test'
}
