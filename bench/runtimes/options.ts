import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { SUITES, type Suite } from '../../lab/parts/suites.ts'

export interface RuntimesOptions {
  isJson: boolean
  isHelp: boolean
  suites: Suite[]
  /** Names of clients; [] for all. */
  clients: string[]
}

const SUITE_NAMES = Object.keys(SUITES) as Suite[]

export function runtimesUsage(clients: readonly string[]): string {
  return `Usage: npm run bench:runtimes -- [flags]

Runtimes of newer Debian releases, each configuration on two nodes with Shoal: one pulls a fresh image, then the other.
Fetches the runtimes first where they are missing (npm run parts). Needs root. Everything takes about five minutes.

  --json           One JSON document on standard output; progress goes to standard error.
  --suite <name>   Only runtimes of this release (${SUITE_NAMES.join(' or ')}); may be repeated.
  --client <name>  Only this one; may be repeated: ${[...new Set(clients)].join(', ')}.
  --help           Prints this text.
`
}

/** @throws UsageError */
export function parseRuntimesOptions(argv: string[], clients: readonly string[]): RuntimesOptions {
  const values = parsed(argv)
  const suites = values.suite ?? SUITE_NAMES
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    suites: [...new Set(suites.map((name) => known('--suite', name, SUITE_NAMES) as Suite))],
    clients: [...new Set((values.client ?? []).map((name) => known('--client', name, clients)))],
  }
}

function known(flag: string, name: string, names: readonly string[]): string {
  if (names.includes(name)) return name
  throw usageError(`${flag}: unknown ${flag.slice(2)} ${name.slice(0, 40)}`)
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const names = { type: 'string', multiple: true } as const
  try {
    return parseArgs({ args: argv, options: { json: flag, help: flag, suite: names, client: names } }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run bench:runtimes -- --help lists flags and clients.' })
}
