import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import type { Mode } from './limit.ts'

export interface FleetOptions {
  isJson: boolean
  isHelp: boolean
  isQuick: boolean
  /** Numbers of nodes that pull at once, one group of rounds each. */
  nodes: number[]
  modes: Mode[]
  /** Interleaved runs of all groups; `direct` is in the first only. */
  runs: number
  /** No round begins that may end later than this after the start. */
  budgetSeconds: number
}

const NODES_MAX = 32
const RUNS_MAX = 9
const ALL_MODES: Mode[] = ['cold', 'warm', 'direct']
const FULL = { nodes: [1, 4, 8, 16], modes: ALL_MODES, runs: 2, budgetSeconds: 575 }
const QUICK = { nodes: [1, 4], modes: ['cold', 'direct'] as Mode[], runs: 1, budgetSeconds: 170 }

export const FLEET_USAGE = `Usage: npm run bench:fleet -- [flags]

Nodes behind shaped links pull one image at the same instant: cold (nobody has it), warm (one other node has it) and
direct (each from the registry, without Shoal). Needs root, for network namespaces.

  --json            One JSON document on standard output; progress goes to standard error.
  --quick           One and four nodes, cold and direct, one run.
  --nodes <1,4>     Numbers of nodes that pull at once. Default: ${FULL.nodes.join(',')}.
  --modes <a,b>     One or more of ${ALL_MODES.join(', ')}. Default: all.
  --runs <number>   Interleaved runs; direct is measured in the first only. Default: ${FULL.runs}.
  --help            Prints this text.
`

/** @throws UsageError */
export function parseFleetOptions(argv: string[]): FleetOptions {
  const values = parsed(argv)
  const isQuick = values.quick ?? false
  const defaults = isQuick ? QUICK : FULL
  return {
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    isQuick,
    nodes: values.nodes === undefined ? defaults.nodes : countsOf(values.nodes),
    modes: values.modes === undefined ? defaults.modes : modesOf(values.modes),
    runs: values.runs === undefined ? defaults.runs : wholeNumber(values.runs, '--runs', RUNS_MAX),
    budgetSeconds: defaults.budgetSeconds,
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const options = { json: flag, quick: flag, help: flag, nodes: text, modes: text, runs: text }
  try {
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function countsOf(text: string): number[] {
  const counts = text.split(',').map((count) => wholeNumber(count, '--nodes', NODES_MAX))
  return [...new Set(counts)].sort((a, b) => a - b)
}

function modesOf(text: string): Mode[] {
  const names = text.split(',')
  const unknown = names.find((name) => !ALL_MODES.some((mode) => mode === name))
  if (unknown !== undefined) throw usageError(`--modes: unknown mode ${unknown.slice(0, 40)}`)
  return ALL_MODES.filter((mode) => names.includes(mode))
}

function wholeNumber(text: string, flag: string, max: number): number {
  const value = Number(text)
  if (/^\d{1,3}$/.test(text) && value >= 1 && value <= max) return value
  throw usageError(`${flag} takes whole numbers from 1 to ${max}, not ${text.slice(0, 40)}`)
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run bench:fleet -- --help lists the flags.' })
}
