import { tellFailure } from '../../lab/machine/program-failure.ts'
import { describeMachine, type Measurement } from '../measure/machine.ts'
import { makeRunFolder } from '../measure/run-folder.ts'
import { BENCH_USAGE, type BenchOptions, parseBenchOptions } from './options.ts'
import { type Report, summarise, type Transfer } from './report.ts'
import { type Group, runRounds } from './rounds.ts'
import { systemsNamed } from './systems/index.ts'
import type { BenchSystem } from './systems/system.ts'
import { renderReport } from './table.ts'

/** `npm run bench:engine`: compares Shoal's engine with others, on this machine, in the same minutes. */

async function main(argv: string[]): Promise<void> {
  const options = parseBenchOptions(argv)
  if (options.isHelp) return void process.stdout.write(BENCH_USAGE)
  const report = await measure(options)
  process.stdout.write(options.isJson ? `${JSON.stringify(report)}\n` : `${renderReport(report)}\n`)
}

async function measure(options: BenchOptions): Promise<Report> {
  const deadlineMs = performance.now() + options.budgetSeconds * 1000
  const machine = describeMachine()
  const systems = systemsNamed(options.systems, options)
  const versions = await versionsOf(systems)
  const groups = options.downloaders.map((downloaders) => ({ downloaders, mib: options.mibFor(downloaders) }))
  await using running = new AsyncDisposableStack()
  const { folder, removeFolder } = makeRunFolder(options.folder, 'shoal-bench-')
  running.defer(removeFolder)
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const transfers = await runRounds({ ...options, systems, groups, deadlineMs, folder, say, running })
  const measurement = { isQuick: options.isQuick, ...summaryOf(groups, transfers) }
  return { machine: { ...machine, versions, measurement }, runs: summarise(transfers) }
}

function summaryOf(groups: Group[], transfers: Transfer[]): Omit<Measurement, 'isQuick'> {
  const systemCount = new Set(transfers.map(({ system }) => system)).size
  const transfersTo = (count: number) => transfers.filter(({ downloaders }) => downloaders === count).length
  return {
    groups: groups.map(({ downloaders, mib }) => {
      return { downloaders, blobMib: mib, rounds: transfersTo(downloaders) / systemCount }
    }),
    mibFromRegistry: transfers.reduce((sum, { registryBytes }) => sum + registryBytes, 0) / 2 ** 20,
  }
}

async function versionsOf(systems: BenchSystem[]): Promise<Record<string, string>> {
  const all = await Promise.all(systems.map((system) => system.versions()))
  return Object.assign({ node: process.versions.node }, ...all)
}

// Not by and by: a peer that failed while it started may still run, and ends when this process does.
await main(process.argv.slice(2)).catch((error) => process.exit(tellFailure('bench:engine', error)))
