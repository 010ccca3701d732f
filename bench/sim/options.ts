import { parseArgs } from 'node:util'
import { ShoalError } from '../../core/errors.ts'

/** The command line is wrong: print the message and the hint. */
export class SimUsageError extends ShoalError {
  readonly code = 'USAGE'
}

export interface SimCommand {
  isJson: boolean
  isPlot: boolean
  isHelp: boolean
  nodeCounts: number[]
}

const NODE_COUNTS = [100, 1_000, 10_000]
const QUICK_NODE_COUNTS = [100, 1_000]

export const SIM_USAGE = `Usage: npm run sim -- [flags]

The shipped picker, upload queue, handout and lease policies under a simulated clock.

  --json   One JSON document on standard output; progress goes to standard error.
  --quick  ${QUICK_NODE_COUNTS.join(' and ')} nodes only.
  --plot   Also writes docs/performance/sim.svg.
  --help   Prints this.
`

/** @throws SimUsageError */
export function parseSimCommand(argv: string[]): SimCommand {
  const { json = false, quick = false, plot = false, help = false } = parsed(argv)
  const nodeCounts = quick ? QUICK_NODE_COUNTS : NODE_COUNTS
  return { isJson: json, isPlot: plot, isHelp: help, nodeCounts }
}

function parsed(argv: string[]) {
  const flag = { type: 'boolean' } as const
  try {
    return parseArgs({ args: argv, options: { json: flag, quick: flag, plot: flag, help: flag } }).values
  } catch (cause) {
    throw new SimUsageError((cause as Error).message, {
      cause,
      hint: 'npm run sim -- --help lists the flags.',
    })
  }
}
