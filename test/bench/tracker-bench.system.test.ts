import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { TrackerReport } from '../../bench/tracker/report.ts'

const PROGRAM = join(import.meta.dirname, '../../bench/tracker/main.ts')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-tracker-bench-test-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

it('a short run prints one document with both operations, and leaves nothing behind', async () => {
  const argv = [PROGRAM, '--json', '--folder', folder, '--seconds', '1', '--rounds', '1']
  const { stdout } = await promisify(execFile)(process.execPath, argv)
  const { machine, runs } = JSON.parse(stdout) as TrackerReport
  const measurement = { seconds: 1, rounds: 1, connections: 32, blobs: 1 }
  expect(machine).toMatchObject({ cores: expect.any(Number), measurement })
  expect(runs.map(({ operation }) => operation)).toEqual(['grant', 'heartbeat'])
  for (const run of runs) {
    expect(Object.keys(run)).toEqual(['operation', 'perSecond', 'p99Ms'])
    expect(run.perSecond).toBeGreaterThan(1)
    expect(run.p99Ms).toBeGreaterThan(0)
  }
  expect(await readdir(folder)).toEqual([])
}, 120_000)
