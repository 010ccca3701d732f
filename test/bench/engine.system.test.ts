import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Report, SystemName } from '../../bench/engine/report.ts'
import { systemsNamed } from '../../bench/engine/systems/index.ts'
import { BenchRequirementError } from '../../bench/measure/errors.ts'
import { INDEPENDENT_PEERS } from '../../bench/peers/installed.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'

const ALL: SystemName[] = ['shoal', 'pump', 'libtorrent-ssl', 'libtorrent-plain', 'webtorrent', 'aria2']
const PROGRAM = join(import.meta.dirname, '../../bench/engine/main.ts')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-bench-test-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function runBench(...flags: string[]): Promise<Report> {
  const argv = [PROGRAM, '--json', '--folder', folder, ...flags]
  const { stdout } = await promisify(execFile)(process.execPath, argv)
  return JSON.parse(stdout) as Report
}

/** A test that needs these systems. On continuous integration nothing is skipped: what is missing fails the run. */
async function testWith(names: SystemName[]) {
  try {
    for (const system of systemsNamed(names, { isRead: false })) await system.versions()
    return it
  } catch (error) {
    if (!(error instanceof BenchRequirementError)) throw error
    return it.skipIf(isSkippedFor([INDEPENDENT_PEERS]))
  }
}
const withBoth = await testWith(['libtorrent-ssl'])
const withAria2 = await testWith(['aria2'])
const withAll = await testWith(ALL)

withBoth(
  'the quick run prints one document with all three, and leaves nothing',
  { timeout: 60_000 },
  async () => {
    const { machine, runs, transfers } = await runBench('--quick', '--mib', '64', '--rounds', '1')
    const groups = [{ downloaders: 1, blobMib: 64, rounds: 1 }]
    const measurement = { isQuick: true, minutes: expect.any(Number), groups, mibFromRegistry: 0 }
    expect(machine).toMatchObject({ cores: expect.any(Number), measurement })
    expect(runs.map(({ system, state }) => [system, state])).toEqual([
      ['shoal', 'fresh'],
      ['shoal', 'warm'],
      ['shoal', 'cold'],
      ['pump', 'fresh'],
      ['pump', 'warm'],
      ['libtorrent-ssl', 'fresh'],
      ['libtorrent-ssl', 'warm'],
    ])
    for (const run of runs) {
      expect(Object.keys(run)).toEqual([
        'system',
        'state',
        'downloaders',
        'blobMib',
        'mibPerSecond',
        'cpuSecondsPerGib',
        'peakRssMib',
        'firstHolderCopies',
        'registryCopies',
        'othersCores',
        'idleCores',
        'stealCores',
        'transfers',
        'discarded',
      ])
      expect(run.mibPerSecond).toBeGreaterThan(1)
      expect(run.cpuSecondsPerGib).toBeGreaterThan(0)
      expect(run.transfers).toBe(1)
      const source = run.state === 'cold' ? run.registryCopies : run.firstHolderCopies
      expect(source).toBeGreaterThanOrEqual(0.99)
      if (run.state !== 'cold' && run.registryCopies !== null) expect(run.registryCopies).toBe(0)
    }
    // Whatever was run again is there as well.
    const discarded = runs.reduce((sum, run) => sum + run.discarded, 0)
    expect(transfers).toHaveLength(runs.length + discarded)
    expect(readdirSync(folder)).toEqual([])
  },
)

withAll('two downloaders each get the whole file, with every system', { timeout: 120_000 }, async () => {
  const { runs } = await runBench('--downloaders', '2', '--mib', '16', '--rounds', '1')
  const [shoal, ...others] = ALL
  expect(runs.map(({ system }) => system)).toEqual([
    ...[shoal, shoal, shoal],
    ...others.flatMap((system) => [system, system]),
  ])
})

it('a cold blob leaves the registry once, and two downloaders have all of it', {
  timeout: 60_000,
}, async () => {
  const argv = [
    '--systems',
    'shoal',
    '--states',
    'cold',
    '--downloaders',
    '2',
    '--mib',
    '16',
    '--rounds',
    '1',
  ]
  const { runs } = await runBench(...argv)
  expect(runs.map(({ state }) => state)).toEqual(['cold'])
  expect(runs[0]!.registryCopies).toBeGreaterThanOrEqual(1)
  expect(runs[0]!.registryCopies).toBeLessThan(1.5)
})

withAria2('ends with every peer and file gone when it is interrupted', { timeout: 60_000 }, async () => {
  const argv = [PROGRAM, '--folder', folder, '--downloaders', '4', '--mib', '256', '--systems', 'shoal,aria2']
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'exit')
  await lineWith(child.stderr, 'starting aria2')
  const peers = await processesBelow(child.pid!)
  expect(peers.length).toBeGreaterThan(1)
  child.kill('SIGINT')
  expect(await ended).toEqual([130, null])
  await expect.poll(() => peers.filter(isRunning), { timeout: 10_000 }).toEqual([])
  expect(readdirSync(folder)).toEqual([])
})

async function lineWith(stream: Readable, text: string): Promise<void> {
  for await (const line of createInterface({ input: stream })) if (line.includes(text)) return
}

async function processesBelow(pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=', '--ppid', String(pid)])
  return stdout.trim().split('\n').map(Number)
}

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}
