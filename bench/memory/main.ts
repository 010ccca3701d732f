import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { type BenchBlob, makeBlob } from '../measure/blob.ts'
import { BenchPeerError } from '../measure/errors.ts'
import { type LineProcess, startLineProcess } from '../measure/line-process.ts'
import { makeRunFolder } from '../measure/run-folder.ts'
import type { ShoalServices } from '../measure/shoal-questions.ts'
import { type IdleReport, measureIdle } from './idle.ts'
import { type NodeProcess, startNodeProcess } from './node-process.ts'
import { MEMORY_USAGE, type MemoryOptions, parseMemoryOptions } from './options.ts'
import { type MemoryReport, renderIdle, renderMemory } from './report.ts'

/** `npm run bench:memory`: the memory of a real node while layers pass through it. */

const SERVICES_PROGRAM = join(import.meta.dirname, '../engine/peers/shoal-services.ts')
const MIB = 2 ** 20
/** Time until it has joined, sends heartbeats, and start-up garbage is collected. */
const IDLE_AFTER_MS = 5_000
/** The tracker's default; for the other measurements heartbeats are frequent, so that stopped nodes are soon forgotten. */
const IDLE_HEARTBEAT_SECONDS = 5

interface Bench {
  folder: string
  services: LineProcess
  settings: ShoalServices
  say(line: string): void
}

async function main(argv: string[]): Promise<void> {
  const options = parseMemoryOptions(argv)
  if (options.isHelp) return void process.stdout.write(MEMORY_USAGE)
  const write = <T>(report: T, render: (report: T) => string) =>
    void process.stdout.write(`${options.isJson ? JSON.stringify(report) : render(report)}\n`)
  if (options.idleMinutes > 0) return write(await withServices(options, idle), renderIdle)
  write(await withServices(options, measureAll), renderMemory)
}

async function withServices<T>(
  options: MemoryOptions,
  measure: (bench: Bench, options: MemoryOptions) => Promise<T>,
): Promise<T> {
  const { folder, removeFolder } = makeRunFolder(options.folder, 'shoal-memory-')
  const services = startLineProcess([process.execPath, SERVICES_PROGRAM])
  try {
    const pace = options.idleMinutes > 0 ? { heartbeatSeconds: IDLE_HEARTBEAT_SECONDS } : {}
    const settings = await services.ask<ShoalServices>({ do: 'open', folder, ...pace })
    const say = (line: string) => void process.stderr.write(`${line}\n`)
    return await measure({ folder, services, settings, say }, options)
  } finally {
    await services.stop()
    removeFolder()
  }
}

function idle({ folder, settings }: Bench, { idleMinutes, program }: MemoryOptions): Promise<IdleReport> {
  const place = { folder: join(folder, 'idle'), services: settings }
  return measureIdle(place, { program, minutes: idleMinutes, env: process.env })
}

async function measureAll(bench: Bench, { smallMib, gib }: MemoryOptions): Promise<MemoryReport> {
  await fillCompileCache(bench)
  const small = await offer(bench, smallMib * MIB)
  const first = await startNodeProcess(join(bench.folder, 'first'), bench.settings)
  await delay(IDLE_AFTER_MS)
  const idleMib = first.memory().now
  bench.say(`idle ${idleMib} MiB`)
  await pull(bench, first, small)
  const smallPeak = first.memory().peak
  const smallFromPeer = await peakFromPeer(bench, small)
  const server = first.memory().peak
  await first.stop()
  rmSync(join(bench.folder, 'first'), { recursive: true })
  const large = gib === 0 ? null : await peakOfLarge(bench, gib)
  return {
    smallMib,
    largeGib: gib,
    idleMib,
    peakMib: { small: smallPeak, smallFromPeer, server, large },
  }
}

/** Only the first start after an installation or a change compiles. */
async function fillCompileCache({ folder, settings }: Bench): Promise<void> {
  const node = await startNodeProcess(join(folder, 'cache-filler'), settings)
  await delay(IDLE_AFTER_MS)
  await node.stop()
}

async function peakFromPeer(bench: Bench, blob: BenchBlob): Promise<number> {
  const folder = join(bench.folder, 'second')
  const node = await startNodeProcess(folder, bench.settings)
  try {
    await pull(bench, node, blob)
    const bytes = await node.bytesFromPeers()
    if (bytes !== blob.bytes) throw new BenchPeerError(`${bytes} bytes came from the peer, not ${blob.bytes}`)
    return node.memory().peak
  } finally {
    await node.stop()
    rmSync(folder, { recursive: true })
  }
}

async function peakOfLarge(bench: Bench, gib: number): Promise<number> {
  const blob = await offer(bench, gib * 1024 * MIB)
  const node = await startNodeProcess(join(bench.folder, 'third'), bench.settings)
  try {
    await pull(bench, node, blob)
    return node.memory().peak
  } finally {
    await node.stop()
  }
}

async function offer({ folder, services, say }: Bench, bytes: number): Promise<BenchBlob> {
  say(`making a layer of ${bytes / MIB} MiB`)
  const blob = await makeBlob(folder, bytes)
  await services.ask({ do: 'add', name: blob.name, path: blob.path, bytes: blob.bytes })
  return blob
}

async function pull({ services, say }: Bench, node: NodeProcess, blob: BenchBlob): Promise<void> {
  const { token } = await services.ask<{ token: string }>({ do: 'token' })
  const { seconds } = await node.pull(blob, token)
  const { now, peak } = node.memory()
  say(`${blob.bytes / MIB} MiB in ${seconds.toFixed(1)} s: peak ${peak} MiB, now ${now} MiB`)
}

await main(process.argv.slice(2)).catch((error) => process.exit(tellFailure('bench:memory', error)))
