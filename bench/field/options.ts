import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'

export interface FieldOptions {
  isJson: boolean
  isHelp: boolean
  /** Names of cases; [] for all. */
  cases: string[]
  /** Pairs of pulls for every variant; undefined: as many as suit it. */
  pairs: number | undefined
}

const PAIRS_MAX = 99

export function fieldUsage(names: readonly string[]): string {
  return `Usage: npm run bench:field -- [flags]

Registries as they are in the field, and failures around a pull: each situation is met by the same real client with
Shoal and without it, in turns. Needs root, for network namespaces. Everything takes about an hour.

  --json            One JSON document on standard output; progress goes to standard error.
  --case <name>     Only this one; may be repeated. All: see below.
  --pairs <number>  Pairs of pulls behind each median. Default: 7 where it is quick and nothing can be shared, 3 where
                    it is quick, 1 for the rest.
  --help            Prints this text.

${wrapped(names)}
`
}

/** @throws UsageError */
export function parseFieldOptions(argv: string[], names: readonly string[]): FieldOptions {
  const values = parsed(argv)
  const cases = values.case ?? []
  const unknown = cases.find((name) => !names.includes(name))
  if (unknown !== undefined) throw usageError(`--case: unknown case ${unknown.slice(0, 40)}`)
  const pairs = values.pairs
  if (pairs !== undefined && !(/^\d{1,2}$/.test(pairs) && Number(pairs) >= 1 && Number(pairs) <= PAIRS_MAX)) {
    throw usageError(`--pairs takes a whole number from 1 to ${PAIRS_MAX}, not ${pairs.slice(0, 40)}`)
  }
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    cases: [...new Set(cases)],
    pairs: pairs === undefined ? undefined : Number(pairs),
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const options = { json: flag, help: flag, case: { ...text, multiple: true as const }, pairs: text }
  try {
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function wrapped(names: readonly string[]): string {
  const widthMax = 100
  const lines = ['Cases:']
  for (const name of names) {
    const line = `${lines.at(-1)} ${name}`
    if (line.length > widthMax) lines.push(`  ${name}`)
    else lines[lines.length - 1] = line
  }
  return lines.join('\n')
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run bench:field -- --help lists flags and cases.' })
}
