import { mkdirSync, writeFileSync } from 'node:fs'
import { ShoalError } from '../../core/errors.ts'
import { parseSimCommand, SIM_USAGE } from './options.ts'
import { renderPlot } from './plot.ts'
import { SCENARIO_NAMES } from './scenarios.ts'
import { type SimRun, simulate } from './simulate.ts'
import { renderTable } from './table.ts'

/** `npm run sim`: the shipped policies with up to 10,000 nodes under a simulated clock. */

const PLOT = new URL('../../docs/performance/sim.svg', import.meta.url)

function main(argv: string[]): void {
  const { isHelp, isJson, isPlot, nodeCounts } = parseSimCommand(argv)
  if (isHelp) return void process.stdout.write(SIM_USAGE)
  const runs = nodeCounts.flatMap((nodes) => SCENARIO_NAMES.map((scenario) => timed({ nodes, scenario })))
  if (isPlot) {
    mkdirSync(new URL('.', PLOT), { recursive: true })
    writeFileSync(PLOT, renderPlot(runs))
  }
  process.stdout.write(isJson ? `${JSON.stringify({ runs })}\n` : `${renderTable(runs)}\n`)
}

function timed(options: Pick<SimRun, 'nodes' | 'scenario'>): SimRun {
  const startedAtMs = performance.now()
  const run = simulate(options)
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1)
  process.stderr.write(`${options.nodes} nodes, ${options.scenario}: ${seconds} s\n`)
  return run
}

try {
  main(process.argv.slice(2))
} catch (error) {
  const isExpected = error instanceof ShoalError
  process.stderr.write(`sim: ${isExpected ? error.message : (error as Error).stack}\n`)
  if (isExpected && error.hint !== undefined) process.stderr.write(`hint: ${error.hint}\n`)
  process.exitCode = isExpected ? 2 : 1
}
