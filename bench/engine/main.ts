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
  const startedAtMs = performance.now()
  const machine = describeMachine()
  const systems = systemsNamed(options.systems, options)
  const versions = await versionsOf(systems)
  const groups = options.mibs.flatMap((mib) =>
    options.downloaders.map((downloaders) => ({ downloaders, mib })),
  )
  await using running = new AsyncDisposableStack()
  const { folder, removeFolder } = makeRunFolder(options.folder, 'shoal-bench-')
  running.defer(removeFolder)
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const deadlineMs = startedAtMs + options.budgetSeconds * 1000
  const transfers = await runRounds({ ...options, systems, groups, deadlineMs, folder, say, running })
  const minutes = Number(((performance.now() - startedAtMs) / 60_000).toFixed(1))
  const measurement = { isQuick: options.isQuick, minutes, ...summaryOf(groups, transfers) }
  return { machine: { ...machine, versions, measurement }, runs: summarise(transfers), transfers }
}

function summaryOf(groups: Group[], transfers: Transfer[]): Pick<Measurement, 'groups' | 'mibFromRegistry'> {
  const roundsOf = ({ downloaders, mib }: Group) => {
    const ofGroup = transfers.filter((it) => it.downloaders === downloaders && it.blobBytes === mib * 2 ** 20)
    return new Set(ofGroup.map(({ round }) => round)).size
  }
  const fromPeers = transfers.filter(({ state }) => state !== 'cold')
  return {
    groups: groups.map((group) => {
      return { downloaders: group.downloaders, blobMib: group.mib, rounds: roundsOf(group) }
    }),
    mibFromRegistry: fromPeers.reduce((sum, { bytesFromElsewhere }) => sum + bytesFromElsewhere, 0) / 2 ** 20,
  }
}

async function versionsOf(systems: BenchSystem[]): Promise<Record<string, string>> {
  const all = await Promise.all(systems.map((system) => system.versions()))
  return Object.assign({ node: process.versions.node }, ...all)
}

// Exits at once: a peer that failed while it started may still run, and ends with this process.
await main(process.argv.slice(2)).catch((error) => process.exit(tellFailure('bench:engine', error)))
