import { type Machine, machineText } from '../measure/machine.ts'
import { median } from '../measure/median.ts'

export const OPERATIONS = ['grant', 'heartbeat'] as const
export type Operation = (typeof OPERATIONS)[number]

/** The result of one measurement. */
export interface Sample {
  operation: Operation
  answers: number
  seconds: number
  p99Ms: number
  /** Bodies of all answers together. */
  bytes: number
}

/** The medians of one operation. */
export interface TrackerRun {
  operation: Operation
  perSecond: number
  p99Ms: number
}

/** The document of `--json` for one tracker as fast as it answers. */
export interface TrackerReport {
  mode?: undefined
  machine: Machine<{ seconds: number; rounds: number; connections: number; blobs: number; store?: string }>
  runs: TrackerRun[]
}

/** Minimum of answers per second of one tracker process. */
const BARS: Record<Operation, number> = { grant: 1_500, heartbeat: 5_000 }

export function summariseSamples(samples: readonly Sample[]): TrackerRun[] {
  return OPERATIONS.map((operation) => {
    const own = samples.filter((sample) => sample.operation === operation)
    return {
      operation,
      perSecond: median(own.map(({ answers, seconds }) => answers / seconds)),
      p99Ms: median(own.map(({ p99Ms }) => p99Ms)),
    }
  })
}

/** By nearest rank; 0 of nothing. @param share 0.99 for the 99th percentile */
export function percentileOf(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.ceil(sorted.length * share) - 1] ?? 0
}

export function renderTracker({ machine, runs }: TrackerReport): string {
  const { seconds, rounds, connections, blobs } = machine.measurement
  const rows = runs.map(({ operation, perSecond, p99Ms }) => {
    const bar = BARS[operation]
    const verdict = perSecond >= bar ? 'met' : 'missed'
    return `| ${operation} | ${Math.round(perSecond)} | ${p99Ms.toFixed(1)} | ${bar} | ${verdict} |`
  })
  return [
    `${machineText(machine)}, Node ${machine.versions.node}`,
    `Medians of ${rounds} interleaved rounds of ${seconds} s, ${connections} connections, ${blobs} blobs in a pull; the load generator runs on the same machine`,
    '',
    '| operation | per second | p99, ms | bar, per second | |',
    '|---|---:|---:|---:|---|',
    ...rows,
  ].join('\n')
}
