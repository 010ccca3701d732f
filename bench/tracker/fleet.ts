import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'
import { peakRssBytesOf, resetPeakRss } from '../measure/process-usage.ts'
import type { OpenLoopResult } from './open-loop.ts'
import type { TrackerBenchOptions } from './options.ts'
import type { LiveAnswer } from './questions.ts'
import { mebibytesOf, note, startSite } from './site.ts'

/** One tracker with the nodes of a large site: heartbeats, pulls, and its restart. */

const BLOBS = 2_000
const BLOB_BYTES = 8 * 2 ** 20
const IMAGES_HELD = 5
export const FLEET_HEARTBEAT_SECONDS = 30
const WARM_UP_SECONDS = 4

export interface FleetRun {
  nodes: number
  blobs: number
  pullsPerSecond: number
  joinSeconds: number
  live: LiveAnswer
  memoryMib: { joined: number; peak: number }
  trackerCores: number
  loadCores: number
  databaseCores: number | null
  restart: {
    stopSeconds: number
    listenSeconds: number
    /** From the start of the program to the first answers. */
    firstHeartbeatSeconds: number
    firstGrantSeconds: number
    /** Of the blob with the fewest. */
    peersInFirstGrant: number
    /** Until every node has connected and sent a heartbeat. */
    allBackSeconds: number
  }
}

export async function measureFleet(options: TrackerBenchOptions): Promise<FleetRun> {
  const { connections: nodes, blobs, pullsPerSecond, seconds } = options
  const images = Math.ceil(BLOBS / blobs)
  await using running = new AsyncDisposableStack()
  const site = await startSite(
    {
      ...options,
      trackers: 1,
      images,
      imagesHeld: Math.min(IMAGES_HELD, images),
      blobBytes: BLOB_BYTES,
      heartbeatSeconds: FLEET_HEARTBEAT_SECONDS,
    },
    running,
  )
  const { load, database, joinSeconds } = site
  const tracker = site.trackers[0]!
  const joined = mebibytesOf(tracker.pid)
  note(`${nodes} nodes joined in ${joinSeconds.toFixed(0)} s`)
  const grantsWanted = Math.ceil(pullsPerSecond * (seconds + WARM_UP_SECONDS) * 1.3)
  await site.prepareGrants(2 * images + grantsWanted)
  await load.ask({ do: 'publish' })
  const rates = { do: 'live', pullsPerSecond, heartbeatSeconds: FLEET_HEARTBEAT_SECONDS }
  await load.ask({ ...rates, seconds: WARM_UP_SECONDS })
  resetPeakRss([tracker.pid])
  const use = async () => [
    cpuSecondsOf([tracker.pid]),
    cpuSecondsOf([load.pid]),
    (await database?.work())?.cpuSeconds ?? 0,
  ]
  const before = await use()
  const startedMs = performance.now()
  const live = await load.ask<LiveAnswer>({ ...rates, seconds })
  const tookSeconds = (performance.now() - startedMs) / 1000
  const cores = (await use()).map((it, index) => (it - before[index]!) / tookSeconds)
  for (const [name, result] of Object.entries(live)) noteResult(name, result)
  const peak = Math.round(peakRssBytesOf([tracker.pid]) / 2 ** 20)
  note(
    `cores: tracker ${cores[0]!.toFixed(2)}, load ${cores[1]!.toFixed(2)}, database ${cores[2]!.toFixed(2)}; memory ${peak} MiB at most`,
  )
  const { stopSeconds, listenSeconds } = await tracker.restart()
  note(`restart: stopped in ${stopSeconds.toFixed(2)} s, listens after ${listenSeconds.toFixed(2)} s`)
  const back = await load.ask<Omit<FleetRun['restart'], 'stopSeconds' | 'listenSeconds'>>({ do: 'reopen' })
  return {
    nodes,
    blobs: images * blobs,
    pullsPerSecond,
    joinSeconds,
    live,
    memoryMib: { joined, peak },
    trackerCores: cores[0]!,
    loadCores: cores[1]!,
    databaseCores: database === undefined ? null : cores[2]!,
    restart: {
      stopSeconds,
      listenSeconds,
      ...back,
      firstHeartbeatSeconds: listenSeconds + back.firstHeartbeatSeconds,
      firstGrantSeconds: listenSeconds + back.firstGrantSeconds,
      allBackSeconds: listenSeconds + back.allBackSeconds,
    },
  }
}

function noteResult(
  name: string,
  { answered, seconds, p50Ms, p99Ms, generatorLateMs }: OpenLoopResult,
): void {
  note(
    `${name}: ${Math.round(answered / seconds)} per second, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, ` +
      `the generator sent up to ${generatorLateMs.toFixed(0)} ms late`,
  )
}
