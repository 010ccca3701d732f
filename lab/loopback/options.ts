import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { nearestName } from '../../core/nearest-name.ts'

export interface LoopbackOptions {
  isJson: boolean
  isHelp: boolean
  /** Everything stays up after the rounds until it is interrupted. */
  isKept: boolean
  /** Nodes that pull at once. */
  nodes: number
  mib: number
  rounds: number
  state: BlobState
  /** Another Shoal than this checkout's, by the path of its shoal.js. */
  program?: string
}

/** Where a round's blob is when all nodes ask for it: on one node, confirmed; or at the registry only. */
export const BLOB_STATES = ['warm', 'cold'] as const
export type BlobState = (typeof BLOB_STATES)[number]

const DEFAULTS = { nodes: 4, mib: 256, rounds: 3 }
const MAXIMA = { nodes: 32, mib: 16 * 1024, rounds: 100 }
const FLAGS = ['--nodes', '--mib', '--rounds', '--state', '--program', '--keep', '--json', '--help']

export const LOOPBACK_USAGE = `Usage: npm run lab -- [flags]

Starts a registry with tokens, a tracker and nodes on loopback, as the programs that operators run, and times how long
the nodes' clients (curl, one a node) take to pull one new blob at once. Needs no root; curl and docker-registry.

  --nodes <number>   Nodes that pull at once. Default: ${DEFAULTS.nodes}
  --mib <number>     Size of the blob. Default: ${DEFAULTS.mib}
  --rounds <number>  Rounds with the same nodes, each with a new blob; 0 starts everything and pulls nothing.
                     Default: ${DEFAULTS.rounds}
  --state <state>    warm: one more node has the blob, and the tracker has confirmed it. cold: only the registry has it.
                     Default: warm
  --program <file>   The bin/shoal.js of another Shoal than this checkout's: of an unpacked package.
  --keep             Leaves everything running, for another program to pull and to measure, until Ctrl-C.
  --json             One JSON document on standard output; progress goes to standard error.
  --help             Prints this text.
`

/** @throws UsageError */
export function parseLoopbackOptions(argv: string[]): LoopbackOptions {
  const values = parsed(argv)
  const number = (flag: keyof typeof DEFAULTS, min: number) =>
    values[flag] === undefined ? DEFAULTS[flag] : wholeNumber(values[flag], flag, min)
  const state = BLOB_STATES.find((known) => known === (values.state ?? 'warm'))
  if (state === undefined) throw usageError(`--state takes ${BLOB_STATES.join(' or ')}`)
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    isKept: values.keep ?? false,
    nodes: number('nodes', 1),
    mib: number('mib', 1),
    rounds: number('rounds', 0),
    state,
    ...(values.program === undefined ? {} : { program: resolve(values.program) }),
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const options = {
    ...{ json: flag, help: flag, keep: flag },
    ...{ nodes: text, mib: text, rounds: text, state: text, program: text },
  }
  try {
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    const unknown = /Unknown option '(--?[^' ]+)/.exec((cause as Error).message)?.[1]
    const nearest = unknown && nearestName(unknown, FLAGS)
    const message = unknown === undefined ? (cause as Error).message : `unknown flag: ${unknown}`
    throw usageError(message, cause, nearest ? `Did you mean ${nearest}?` : undefined)
  }
}

function wholeNumber(text: string, flag: keyof typeof DEFAULTS, min: number): number {
  const value = Number(text)
  if (/^\d{1,6}$/.test(text) && value >= min && value <= MAXIMA[flag]) return value
  throw usageError(`--${flag} takes a whole number from ${min} to ${MAXIMA[flag]}, not ${text.slice(0, 40)}`)
}

function usageError(message: string, cause?: unknown, hint?: string): UsageError {
  return new UsageError(message, { cause, hint: hint ?? 'npm run lab -- --help lists the flags.' })
}
