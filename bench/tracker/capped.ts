import { capProcessor, type ProcessorCap } from '../../lab/machine/processor-cap.ts'
import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'
import {
  CAPACITY_BLOB_BYTES,
  CAPACITY_IMAGES,
  GRANTS_PREPARED_PER_SECOND,
  HEARTBEAT_SECONDS,
  WARM_UP_SECONDS,
} from './capacity.ts'
import type { OpenLoopResult } from './open-loop.ts'
import type { TrackerBenchOptions } from './options.ts'
import type { Sample } from './report.ts'
import { note, type Site, startSite } from './site.ts'

/**
 * Trackers of a fraction of a core each: which rate of grants do they keep up with? The images are in the cluster: what several
 * trackers decide about a cold one they decide one after the other (tracker/swarm/swarm-cache.ts).
 */

/** A rate is kept up with when 99 of 100 grants are answered this soon after they were to be sent. */
export const P99_HELD_MS = 500
/** Rates that are tried, as shares of what the trackers answer when they always have work. */
const SHARE_MIN = 0.5
const SHARE_MAX = 1.2
/** Halvings of that range: to 1/32 of it, 2 %. */
const STEPS = 5

export interface Step extends OpenLoopResult {
  perSecond: number
  isHeld: boolean
}

export interface CappedRun {
  trackers: number
  /** When every node sends its next request once the last one is answered. */
  saturatedPerSecond: number
  /** The highest rate that they kept up with. */
  heldPerSecond: number
  /** Of that rate. */
  p50Ms: number
  p99Ms: number
  /** Used while that rate was offered. */
  coresEach: number[]
  databaseCores: number | null
  loadCores: number
  steps: Step[]
}

export async function measureCapped(options: TrackerBenchOptions): Promise<CappedRun[]> {
  const runs: CappedRun[] = []
  for (const trackers of options.trackers) runs.push(await measureTrackers(options, trackers))
  return runs
}

async function measureTrackers(options: TrackerBenchOptions, trackers: number): Promise<CappedRun> {
  const { cores, seconds } = options
  await using running = new AsyncDisposableStack()
  const caps: ProcessorCap[] = []
  // Runs after the trackers have ended.
  running.defer(() => {
    for (const cap of caps) cap.remove()
  })
  const site = await startSite(
    {
      ...options,
      trackers,
      images: CAPACITY_IMAGES,
      imagesHeld: CAPACITY_IMAGES,
      blobBytes: CAPACITY_BLOB_BYTES,
      heartbeatSeconds: HEARTBEAT_SECONDS,
    },
    running,
  )
  const { load } = site
  await site.prepareGrants(2 * CAPACITY_IMAGES + WARM_UP_SECONDS * GRANTS_PREPARED_PER_SECOND * trackers)
  await load.ask({ do: 'publish' })
  await load.ask({ do: 'measure', operation: 'grant', seconds: WARM_UP_SECONDS })
  site.trackers.forEach(({ pid }, index) => {
    caps.push(capProcessor(`shoal-bench-${process.pid}-${index}`, pid, cores))
  })
  const sample = await load.ask<Sample>({ do: 'measure', operation: 'grant', seconds })
  const saturatedPerSecond = sample.answers / sample.seconds
  note(`${trackers} of ${cores} cores: ${Math.round(saturatedPerSecond)} grants per second when saturated`)
  const steps: Step[] = []
  const held = { step: undefined as Step | undefined, use: undefined as Use | undefined }
  let [low, high] = [SHARE_MIN * saturatedPerSecond, SHARE_MAX * saturatedPerSecond]
  for (let at = 0; at < STEPS; at += 1) {
    const perSecond = (low + high) / 2
    await site.prepareGrants(Math.ceil(perSecond * seconds * 1.3))
    const before = await readUse(site)
    const offered = await load.ask<OpenLoopResult>({ do: 'offer', perSecond, seconds })
    const use = useBetween(before, await readUse(site))
    const step = {
      ...offered,
      perSecond,
      isHeld: offered.p99Ms <= P99_HELD_MS && offered.answered === offered.sent,
    }
    steps.push(step)
    note(
      `${Math.round(perSecond)} grants per second offered: ${step.isHeld ? 'held' : 'not held'}, p99 ${Math.round(step.p99Ms)} ms, ` +
        `trackers ${use.trackers.map((it) => it.toFixed(2)).join(' and ')} cores, database ${use.database?.toFixed(2) ?? '–'}, load ${use.load.toFixed(2)}`,
    )
    if (step.isHeld) Object.assign(held, { step, use })
    if (step.isHeld) low = perSecond
    else high = perSecond
  }
  note(
    `version ${caps[0]?.version} of control groups; stopped by the cap for ${caps.map((cap) => cap.throttledSeconds().toFixed(1)).join(' and ')} s`,
  )
  return {
    trackers,
    saturatedPerSecond,
    heldPerSecond: held.step?.perSecond ?? 0,
    p50Ms: held.step?.p50Ms ?? 0,
    p99Ms: held.step?.p99Ms ?? 0,
    coresEach: held.use?.trackers ?? [],
    databaseCores: held.use?.database ?? null,
    loadCores: held.use?.load ?? 0,
    steps,
  }
}

/** In cores, or in seconds of one. */
interface Use {
  atMs: number
  trackers: number[]
  load: number
  database: number | undefined
}

async function readUse({ trackers, load, database }: Site): Promise<Use> {
  const work = await database?.work()
  return {
    atMs: performance.now(),
    trackers: trackers.map(({ pid }) => cpuSecondsOf([pid])),
    load: cpuSecondsOf([load.pid]),
    database: work?.cpuSeconds,
  }
}

function useBetween(before: Use, after: Use): Use {
  const seconds = (after.atMs - before.atMs) / 1000
  return {
    atMs: after.atMs,
    trackers: after.trackers.map((it, index) => (it - before.trackers[index]!) / seconds),
    load: (after.load - before.load) / seconds,
    database: after.database === undefined ? undefined : (after.database - before.database!) / seconds,
  }
}
