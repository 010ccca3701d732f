import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { SCENARIO_NAMES, type ScenarioName } from './scenarios.ts'

export interface SimCommand {
  isJson: boolean
  isPlot: boolean
  isHelp: boolean
  nodeCounts: number[]
  scenarios: ScenarioName[]
  /** Wanted by every node at the same time. */
  images: number
}

const NODE_COUNTS = [100, 1_000, 10_000]
const QUICK_NODE_COUNTS = [100, 1_000]
/** Memory and time grow with the nodes. */
const NODES_MAX = 10_000
/** The largest number of nodes times images: each is a download. */
const DOWNLOADS_MAX = 20_000
const IMAGES_MAX = 8

export const SIM_USAGE = `Usage: npm run sim -- [flags]

The shipped download, picker, upload queue, handout and lease policies under a simulated clock.

  --json               One JSON document on standard output; progress goes to standard error.
  --quick              ${QUICK_NODE_COUNTS.join(' and ')} nodes only.
  --nodes <100,1000>   Numbers of nodes, up to ${NODES_MAX}. Default: ${NODE_COUNTS.join(',')}.
  --scenarios <a,b>    One or more of ${SCENARIO_NAMES.join(', ')}. Default: all.
  --images <number>    Images that every node wants at the same time, up to ${IMAGES_MAX}. Default: 1.
  --plot               Also writes docs/performance/sim.svg.
  --help               Prints this text.
`

/** @throws UsageError */
export function parseSimCommand(argv: string[]): SimCommand {
  const {
    json = false,
    quick = false,
    plot = false,
    help = false,
    nodes,
    scenarios,
    images = '1',
  } = parsed(argv)
  const defaults = quick ? QUICK_NODE_COUNTS : NODE_COUNTS
  const nodeCounts = nodes === undefined ? defaults : countsOf(nodes)
  if (!/^\d$/.test(images) || Number(images) < 1 || Number(images) > IMAGES_MAX)
    throw usageError(`--images takes a whole number from 1 to ${IMAGES_MAX}, not ${images.slice(0, 40)}`)
  if (Math.max(...nodeCounts) * Number(images) > DOWNLOADS_MAX)
    throw usageError(`--images times --nodes is ${DOWNLOADS_MAX} at most`)
  return {
    isJson: json,
    isPlot: plot,
    isHelp: help,
    nodeCounts,
    images: Number(images),
    scenarios: scenarios === undefined ? [...SCENARIO_NAMES] : scenariosOf(scenarios),
  }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const options = {
    json: flag,
    quick: flag,
    plot: flag,
    help: flag,
    nodes: text,
    scenarios: text,
    images: text,
  }
  try {
    return parseArgs({ args: argv, options }).values
  } catch (cause) {
    throw usageError((cause as Error).message, cause)
  }
}

function countsOf(text: string): number[] {
  const counts = text.split(',').map((count) => {
    const value = Number(count)
    if (/^\d{1,5}$/.test(count) && value >= 1 && value <= NODES_MAX) return value
    throw usageError(`--nodes takes whole numbers from 1 to ${NODES_MAX}, not ${count.slice(0, 40)}`)
  })
  return [...new Set(counts)].sort((one, other) => one - other)
}

function scenariosOf(text: string): ScenarioName[] {
  const names = text.split(',')
  const unknown = names.find((name) => !SCENARIO_NAMES.some((scenario) => scenario === name))
  if (unknown !== undefined) throw usageError(`--scenarios: unknown scenario ${unknown.slice(0, 40)}`)
  return SCENARIO_NAMES.filter((scenario) => names.includes(scenario))
}

function usageError(message: string, cause?: unknown): UsageError {
  return new UsageError(message, { cause, hint: 'npm run sim -- --help lists the flags.' })
}
