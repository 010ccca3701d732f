import { requirementsFor } from '../../lab/cluster.ts'
import { LabClosedError } from '../../lab/errors.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { requireParts } from '../../lab/machine/requirements.ts'
import { describeMachine } from '../measure/machine.ts'
import { type Fleet, NODE_BITS_PER_SECOND, openFleet, REGISTRY_BITS_PER_SECOND } from './fleet.ts'
import { FLEET_USAGE, type FleetOptions, parseFleetOptions } from './options.ts'
import { type FleetReport, type Round, renderFleet, summariseRounds } from './report.ts'

/** `npm run bench:fleet`: the time until N nodes have an image, compared with their links' limit. */

/** Time reserved for a round that was never run: one and a half times its limit, and time for its image. */
const GUESS = { factor: 1.5, besidesMs: 10_000 }

async function main(argv: string[]): Promise<void> {
  const options = parseFleetOptions(argv)
  if (options.isHelp) return void process.stdout.write(FLEET_USAGE)
  requireParts([...requirementsFor(['skopeo']), 'tc'])
  const report = await measure(options)
  process.stdout.write(`${options.isJson ? JSON.stringify(report) : renderFleet(report)}\n`)
}

async function measure(options: FleetOptions): Promise<FleetReport> {
  const deadlineMs = performance.now() + options.budgetSeconds * 1000
  const machine = describeMachine()
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const fleet = await openFleet(Math.max(...options.nodes), say)
  try {
    say(`one flow carries ${(fleet.links.nodeBytesPerSecond / 1e6).toFixed(3)} MB/s over a node's link`)
    const { runs, counted } = summariseRounds(await runRounds(fleet, options, { deadlineMs, say }))
    const measurement = {
      isQuick: options.isQuick,
      layerBytes: fleet.layerBytes(),
      nodeBitsPerSecond: NODE_BITS_PER_SECOND,
      registryBitsPerSecond: REGISTRY_BITS_PER_SECOND,
      goodput: Math.round(fleet.links.nodeBytesPerSecond),
      rounds: counted,
    }
    return { machine: { ...machine, versions: { node: process.versions.node }, measurement }, runs }
  } finally {
    await fleet.lab.close()
  }
}

/** Runs one after the other, so that a machine that becomes slower affects all modes and counts. */
async function runRounds(
  fleet: Fleet,
  { runs, nodes, modes }: FleetOptions,
  { deadlineMs, say }: { deadlineMs: number; say: (line: string) => void },
): Promise<Round[]> {
  const rounds: Round[] = []
  const tookMs = new Map<string, number>()
  for (let run = 1; run <= runs; run++) {
    const plans = nodes.flatMap((count) => modes.map((mode) => ({ mode, count })))
    for (const { mode, count } of plans) {
      const key = `${mode} ${count}`
      if (mode === 'direct' && run > 1) continue
      const guessMs = fleet.limitSeconds(mode, count) * 1000 * GUESS.factor + GUESS.besidesMs
      if (performance.now() + (tookMs.get(key) ?? guessMs) > deadlineMs) {
        say(`no time is left for run ${run} of ${key}`)
        continue
      }
      const startedMs = performance.now()
      const round = await fleet.measure(mode, count)
      tookMs.set(key, performance.now() - startedMs)
      rounds.push(round)
      say(describe(round, run))
    }
  }
  return rounds
}

function describe({ mode, nodes, seconds, ...round }: Round, run: number): string {
  const makespan = Math.max(...seconds)
  return [
    `run ${run}, ${mode} to ${nodes}: ${makespan.toFixed(1)} s, limit ${round.limitSeconds.toFixed(1)} s`,
    `first done at ${Math.min(...seconds).toFixed(1)} s`,
    `${round.registryCopies.toFixed(3)} copies from the registry (link ${round.linkCopies.toFixed(3)})`,
    `the holder sent ${round.holderCopies.toFixed(2)}, a downloader at most ${round.mostSentCopies.toFixed(2)}`,
    `and received at most ${round.mostReceivedCopies.toFixed(2)}`,
  ].join('; ')
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  // The signal that closed the lab ends this process.
  if (!(error instanceof LabClosedError)) process.exitCode = tellFailure('bench:fleet', error)
})
