import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { type LineProcess, startLineProcess } from '../measure/line-process.ts'
import { describeMachine } from '../measure/machine.ts'
import { rssBytesOf } from '../measure/process-usage.ts'
import { makeRunFolder } from '../measure/run-folder.ts'
import { parseTrackerOptions, TRACKER_USAGE, type TrackerBenchOptions } from './options.ts'
import type { LoadSettings, RegistryAnswer } from './questions.ts'
import { OPERATIONS, renderTracker, type Sample, summariseSamples, type TrackerReport } from './report.ts'
import { startTrackerProcess } from './tracker-process.ts'

/** `npm run bench:tracker`: how many requests one tracker process answers in a second. */

const REGISTRY_PROGRAM = join(import.meta.dirname, 'registry-process.ts')
const LOAD_PROGRAM = join(import.meta.dirname, 'load-process.ts')
const CERTIFICATE_SECONDS = 24 * 3600
const IMAGES = 16
const BLOB_BYTES = 64 * 2 ** 20
/** Prepared per second of measurement; a faster tracker ends its measurement early. */
const GRANTS_PREPARED_PER_SECOND = 3_000
const TOKENS_PER_QUESTION = 2_000
/**
 * Time that does not count: a tracker runs for days, and Node still compiles the code of the first thousands of
 * requests.
 */
const WARM_UP_SECONDS = 4
/** The probe of an unknown token key, which the first grant begins, takes 45 s: what counts is a key that is trusted. */
const PROBE_MS = 46_000

interface Bench {
  registry: LineProcess
  load: LineProcess
  trackerPid: number
}

async function main(argv: string[]): Promise<void> {
  const options = parseTrackerOptions(argv)
  if (options.isHelp) return void process.stdout.write(TRACKER_USAGE)
  const report = await measure(options)
  process.stdout.write(`${options.isJson ? JSON.stringify(report) : renderTracker(report)}\n`)
}

async function measure(options: TrackerBenchOptions): Promise<TrackerReport> {
  const { seconds, rounds, connections, blobs, isProbed } = options
  const machine = {
    ...describeMachine(),
    versions: { node: process.versions.node },
    measurement: { seconds, rounds, connections, blobs, keys: isProbed ? 'probed' : 'configured' },
  }
  await using running = new AsyncDisposableStack()
  const { folder, removeFolder } = makeRunFolder(options.folder, 'shoal-tracker-')
  running.defer(removeFolder)
  const bench = await start(options, folder, running)
  return { machine, runs: summariseSamples(await runRounds(bench, options)) }
}

async function start(
  options: TrackerBenchOptions,
  folder: string,
  running: AsyncDisposableStack,
): Promise<Bench> {
  const start = (program: string) =>
    running.adopt(startLineProcess([process.execPath, program]), (it) => it.stop())
  const authority = await makeAuthority({ commonName: 'benchmark', validForSeconds: CERTIFICATE_SECONDS })
  const caPem = authority.certificatePem
  const tls = await issueForLocalhost(authority, CERTIFICATE_SECONDS)
  const registry = start(REGISTRY_PROGRAM)
  const { host, tokenKeys: keys } = await registry.ask<RegistryAnswer>({ do: 'open', ...tls })
  const images = imagesOf(options.blobs)
  await registry.ask({ do: 'add', images })
  const { profileFolder, connections } = options
  const tokenKeys = options.isProbed ? undefined : keys
  const tracker = await startTrackerProcess({ folder, tls, caPem, registry: host, tokenKeys, profileFolder })
  running.defer(() => tracker.stop())
  const load = start(LOAD_PROGRAM)
  const { port, joinToken } = tracker
  const settings: LoadSettings = {
    port,
    trackerCaPem: caPem,
    joinToken,
    connections,
    registry: host,
    images,
  }
  await load.ask({ do: 'open', ...settings })
  note(`memory of the tracker with ${connections} nodes joined: ${memoryOf(tracker.pid)}`)
  return { registry, load, trackerPid: tracker.pid }
}

function imagesOf(blobs: number): LoadSettings['images'] {
  const digest = (name: string) => digestFromHex(createHash('sha256').update(name).digest('hex'))
  return Array.from({ length: IMAGES }, (_, image) =>
    Array.from({ length: blobs }, (_, blob) => ({ digest: digest(`${image} ${blob}`), bytes: BLOB_BYTES })),
  )
}

/** The operations take turns, so that other work of the machine affects both. */
async function runRounds(
  bench: Bench,
  { seconds, rounds, isProbed }: TrackerBenchOptions,
): Promise<Sample[]> {
  const samples: Sample[] = []
  await measureEach(bench, WARM_UP_SECONDS)
  if (isProbed) await wait(PROBE_MS)
  for (let round = 1; round <= rounds; round += 1) samples.push(...(await measureEach(bench, seconds)))
  note(`memory of the tracker at the end: ${memoryOf(bench.trackerPid)}`)
  return samples
}

async function measureEach(bench: Bench, seconds: number): Promise<Sample[]> {
  const samples: Sample[] = []
  await prepareGrants(bench, seconds * GRANTS_PREPARED_PER_SECOND)
  for (const operation of OPERATIONS) {
    const processes = [bench.trackerPid, bench.load.pid]
    const before = processes.map((pid) => cpuSecondsOf([pid]))
    const sample = await bench.load.ask<Sample>({ do: 'measure', operation, seconds })
    const used = processes.map((pid, index) => cpuSecondsOf([pid]) - before[index]!)
    noteSample(sample, used)
    samples.push(sample)
  }
  return samples
}

/** @param cpuSeconds of the tracker and of the load generator */
function noteSample({ operation, answers, seconds, bytes }: Sample, cpuSeconds: number[]): void {
  const [tracker, load] = cpuSeconds.map((used) => Math.round((used * 1e6) / answers))
  note(
    `${operation}: ${Math.round(answers / seconds)} per second; each ${Math.round(bytes / answers)} bytes, ` +
      `${tracker} µs of CPU in the tracker and ${load} µs in the load generator`,
  )
}

function memoryOf(pid: number): string {
  return `${Math.round(rssBytesOf(pid) / 2 ** 20)} MiB`
}

function note(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function prepareGrants({ registry, load }: Bench, wanted: number): Promise<void> {
  for (let prepared = 0; prepared < wanted; ) {
    const question = { do: 'tokens', count: TOKENS_PER_QUESTION }
    const { tokens } = await registry.ask<{ tokens: string[] }>(question)
    prepared = (await load.ask<{ prepared: number }>({ do: 'prepare', tokens })).prepared
  }
}

await main(process.argv.slice(2)).catch((error) => process.exit(tellFailure('bench:tracker', error)))
