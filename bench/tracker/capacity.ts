import { setTimeout as wait } from 'node:timers/promises'
import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'
import type { DatabaseWork } from './database.ts'
import type { TrackerBenchOptions } from './options.ts'
import { OPERATIONS, type Sample } from './report.ts'
import { memoryOf, note, type Site, startSite } from './site.ts'

/** One tracker, asked as fast as it answers. */

export const CAPACITY_IMAGES = 16
export const CAPACITY_BLOB_BYTES = 64 * 2 ** 20
export const HEARTBEAT_SECONDS = 5
/** Prepared per second of measurement; a faster tracker ends its measurement early. */
export const GRANTS_PREPARED_PER_SECOND = 3_000
/**
 * Time that does not count: a tracker runs for days, and Node still compiles the code of the first thousands of
 * requests.
 */
export const WARM_UP_SECONDS = 4
/** The probe of an unknown token key, which the first grant begins, takes 45 s: what counts is a key that is trusted. */
const PROBE_MS = 46_000

/** The operations take turns, so that other work of the machine affects both. */
export async function measureCapacity(options: TrackerBenchOptions): Promise<Sample[]> {
  const { seconds, rounds, isProbed } = options
  await using running = new AsyncDisposableStack()
  const site = await startSite(
    {
      ...options,
      trackers: 1,
      images: CAPACITY_IMAGES,
      imagesHeld: CAPACITY_IMAGES,
      blobBytes: CAPACITY_BLOB_BYTES,
      heartbeatSeconds: HEARTBEAT_SECONDS,
    },
    running,
  )
  const samples: Sample[] = []
  await measureEach(site, WARM_UP_SECONDS)
  if (isProbed) await wait(PROBE_MS)
  for (let round = 1; round <= rounds; round += 1) samples.push(...(await measureEach(site, seconds)))
  note(`memory of the tracker at the end: ${memoryOf(site.trackers[0]!.pid)}`)
  return samples
}

async function measureEach(site: Site, seconds: number): Promise<Sample[]> {
  const samples: Sample[] = []
  await site.prepareGrants(seconds * GRANTS_PREPARED_PER_SECOND)
  for (const operation of OPERATIONS) {
    const processes = [site.trackers[0]!.pid, site.load.pid]
    const before = processes.map((pid) => cpuSecondsOf([pid]))
    const workBefore = await site.database?.work()
    const sample = await site.load.ask<Sample>({ do: 'measure', operation, seconds })
    const used = processes.map((pid, index) => cpuSecondsOf([pid]) - before[index]!)
    noteSample(sample, used)
    if (workBefore !== undefined) noteWork(sample, workBefore, await site.database!.work())
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

function noteWork({ operation, answers }: Sample, before: DatabaseWork, after: DatabaseWork): void {
  const each = (part: keyof DatabaseWork) => (after[part] - before[part]) / answers
  note(
    `${operation}: each ${Math.round(each('cpuSeconds') * 1e6)} µs of CPU in the database, ` +
      `${each('transactions').toFixed(2)} transactions, ${Math.round(each('logBytes'))} bytes of its log`,
  )
}
