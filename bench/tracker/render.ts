import { type Machine, machineText } from '../measure/machine.ts'
import type { CappedRun } from './capped.ts'
import type { FleetRun } from './fleet.ts'
import { renderTracker, type TrackerReport } from './report.ts'

/** The documents of `--json`, and their text. */

export interface CappedReport {
  mode: 'capped'
  machine: Machine<{ seconds: number; connections: number; blobs: number; store: string; cores: number }>
  loadAfter: number
  capped: CappedRun[]
}

export interface FleetReport {
  mode: 'fleet'
  machine: Machine<{ seconds: number; connections: number; blobs: number; store: string }>
  loadAfter: number
  fleet: FleetRun
}

export type AnyReport = TrackerReport | CappedReport | FleetReport

/** What two trackers do of what one does, at least. */
export const TWO_TRACKERS_TIMES_MIN = 1.8
/** Bars of one tracker with 10,000 nodes and 200 pulls a second. */
export const FLEET_BARS = { p99Ms: 250, memoryMib: 1024, restartSeconds: 3 }

export function renderReport(report: AnyReport): string {
  if (report.mode === 'capped') return renderCapped(report)
  return report.mode === 'fleet' ? renderFleet(report) : renderTracker(report)
}

export function renderCapped({ machine, loadAfter, capped }: CappedReport): string {
  const { seconds, connections, blobs, store, cores } = machine.measurement
  const one = capped.find(({ trackers }) => trackers === 1)
  const rows = capped.map((run) => {
    const times = one === undefined ? '' : (run.heldPerSecond / one.heldPerSecond).toFixed(2)
    const used = run.coresEach.map((it) => it.toFixed(2)).join(', ')
    const database = run.databaseCores?.toFixed(2) ?? '–'
    return `| ${run.trackers} | ${Math.round(run.saturatedPerSecond)} | ${Math.round(run.heldPerSecond)} | ${times} | ${run.p50Ms.toFixed(0)} | ${run.p99Ms.toFixed(0)} | ${used} | ${database} | ${run.loadCores.toFixed(2)} |`
  })
  return [
    `${machineText(machine)}, ${loadAfter} after it, Node ${machine.versions.node}`,
    `Store: ${store}; each tracker has ${cores} cores and ${connections} nodes; ${blobs} blobs in a pull; ${seconds} s for each rate. Bar: two trackers do ${TWO_TRACKERS_TIMES_MIN} times what one does`,
    '',
    '| trackers | grants per second, saturated | held | times one | p50, ms | p99, ms | cores, each tracker | database | load |',
    '|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    ...rows,
  ].join('\n')
}

export function renderFleet({ machine, loadAfter, fleet }: FleetReport): string {
  const { seconds, blobs, store } = machine.measurement
  const { live, memoryMib, restart } = fleet
  const against = (value: number, bar: number) => `${bar} | ${value <= bar ? 'met' : 'missed'}`
  const p99 = (name: keyof typeof live) =>
    `| ${name}: ${Math.round(live[name].answered / live[name].seconds)} per second, p99 in ms | ${live[name].p99Ms.toFixed(1)} | ${against(live[name].p99Ms, FLEET_BARS.p99Ms)} |`
  return [
    `${machineText(machine)}, ${loadAfter} after it, Node ${machine.versions.node}`,
    `Store: ${store}; ${fleet.nodes} nodes, ${fleet.blobs} blobs, ${fleet.pullsPerSecond} pulls of ${blobs} blobs per second for ${seconds} s`,
    '',
    '| | measured | bar | |',
    '|---|---:|---:|---|',
    p99('grant'),
    p99('completion'),
    p99('heartbeat'),
    `| memory at most, MiB | ${memoryMib.peak} | ${against(memoryMib.peak, FLEET_BARS.memoryMib)} |`,
    `| restart until the first grant, s | ${restart.firstGrantSeconds.toFixed(2)} | ${against(restart.firstGrantSeconds, FLEET_BARS.restartSeconds)} |`,
    `| restart until all nodes are back, s | ${restart.allBackSeconds.toFixed(1)} | – | |`,
    `| cores of the tracker, the load generator, the database | ${[fleet.trackerCores, fleet.loadCores, fleet.databaseCores ?? 0].map((it) => it.toFixed(2)).join(', ')} | – | |`,
  ].join('\n')
}
