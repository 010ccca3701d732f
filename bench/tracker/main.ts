import { loadavg } from 'node:os'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { describeMachine } from '../measure/machine.ts'
import { measureCapacity } from './capacity.ts'
import { measureCapped } from './capped.ts'
import { measureFleet } from './fleet.ts'
import { parseTrackerOptions, TRACKER_USAGE, type TrackerBenchOptions } from './options.ts'
import { type AnyReport, renderReport } from './render.ts'
import { summariseSamples } from './report.ts'

/** `npm run bench:tracker`: what tracker processes answer, and how soon. */

async function main(argv: string[]): Promise<void> {
  const options = parseTrackerOptions(argv)
  if (options.isHelp) return void process.stdout.write(TRACKER_USAGE)
  const report = await measure(options)
  process.stdout.write(`${options.isJson ? JSON.stringify(report) : renderReport(report)}\n`)
}

async function measure(options: TrackerBenchOptions): Promise<AnyReport> {
  const { mode, store, seconds, rounds, connections, blobs, isProbed, cores } = options
  const machine = { ...describeMachine(), versions: { node: process.versions.node } }
  const common = { seconds, connections, blobs, store }
  const loadAfter = () => Number(loadavg()[0]!.toFixed(2))
  if (mode === 'fleet') {
    const fleet = await measureFleet(options)
    return { mode, machine: { ...machine, measurement: common }, loadAfter: loadAfter(), fleet }
  }
  if (mode === 'capped') {
    const capped = await measureCapped(options)
    return {
      mode,
      machine: { ...machine, measurement: { ...common, cores } },
      loadAfter: loadAfter(),
      capped,
    }
  }
  const samples = await measureCapacity(options)
  const measurement = { ...common, rounds, keys: isProbed ? 'probed' : 'configured' }
  return { machine: { ...machine, measurement }, runs: summariseSamples(samples) }
}

await main(process.argv.slice(2)).catch((error) => process.exit(tellFailure('bench:tracker', error)))
