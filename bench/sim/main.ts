import { mkdirSync, writeFileSync } from 'node:fs'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { parseSimCommand, SIM_USAGE } from './options.ts'
import { renderPlot } from './plot.ts'
import { simulateAll } from './simulate-all.ts'
import { renderTable } from './table.ts'

/** `npm run sim`: the shipped policies with up to 10,000 nodes under a simulated clock. */

const PLOT = new URL('../../docs/performance/sim.svg', import.meta.url)

async function main(argv: string[]): Promise<void> {
  const { isHelp, isJson, isPlot, nodeCounts, scenarios, images } = parseSimCommand(argv)
  if (isHelp) return void process.stdout.write(SIM_USAGE)
  const wanted = nodeCounts.flatMap((nodes) => scenarios.map((scenario) => ({ nodes, scenario, images })))
  const runs = await simulateAll(wanted, ({ nodes, scenario }, seconds) => {
    process.stderr.write(`${nodes} nodes, ${scenario}: ${seconds.toFixed(1)} s\n`)
  })
  if (isPlot) {
    mkdirSync(new URL('.', PLOT), { recursive: true })
    writeFileSync(PLOT, renderPlot(runs))
  }
  process.stdout.write(isJson ? `${JSON.stringify({ runs })}\n` : `${renderTable(runs)}\n`)
}

await main(process.argv.slice(2)).catch((error) => {
  process.exitCode = tellFailure('sim', error)
})
