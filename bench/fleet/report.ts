import type { Machine } from '../measure/machine.ts'
import { median } from '../measure/median.ts'
import type { Mode } from './limit.ts'

/** One round: `nodes` pulls that began at the same instant. */
export interface Round {
  mode: Mode
  nodes: number
  limitSeconds: number
  /** For each node, from the common start to the end of its client. */
  seconds: number[]
  /** Bytes that left the registry meanwhile, in images, by its access log. */
  registryCopies: number
  /** The same by its link's counters, with headers, tokens and manifests. */
  linkCopies: number
  /** By the links' counters: bytes sent by the warm holder, and the most that any downloader sent and received. */
  holderCopies: number
  mostSentCopies: number
  mostReceivedCopies: number
}

/** Medians over the rounds of one mode and count. */
export interface FleetRun {
  mode: Mode
  nodes: number
  /** Until the slowest node has the image. */
  makespanSeconds: number
  limitSeconds: number
  /** The slowest node's time over the median node's. */
  slowestOverMedian: number
  registryCopies: number
}

export interface FleetMeasurement {
  isQuick: boolean
  layerBytes: number[]
  nodeBitsPerSecond: number
  registryBitsPerSecond: number
  /** Payload of one flow over a node's link, bytes per second. */
  goodput: number
  /** Number of rounds behind each median, and the cross-check of `registryCopies`. */
  rounds: { mode: Mode; nodes: number; rounds: number; linkCopies: number }[]
}

export interface FleetReport {
  machine: Machine<FleetMeasurement>
  runs: FleetRun[]
}

const MODES: Mode[] = ['cold', 'warm', 'direct']

/** One row per mode and count, in a fixed order. */
export function summariseRounds(rounds: Round[]): { runs: FleetRun[]; counted: FleetMeasurement['rounds'] } {
  const groups = groupsOf(rounds)
  return {
    runs: groups.map((group) => rowOf(group)),
    counted: groups.map((group) => ({
      mode: group[0]!.mode,
      nodes: group[0]!.nodes,
      rounds: group.length,
      linkCopies: medianOf(group, ({ linkCopies }) => linkCopies, 3),
    })),
  }
}

function groupsOf(rounds: Round[]): Round[][] {
  const counts = [...new Set(rounds.map(({ nodes }) => nodes))].sort((a, b) => a - b)
  const groups = MODES.flatMap((mode) =>
    counts.map((nodes) => rounds.filter((round) => round.mode === mode && round.nodes === nodes)),
  )
  return groups.filter(({ length }) => length > 0)
}

function rowOf(group: Round[]): FleetRun {
  return {
    mode: group[0]!.mode,
    nodes: group[0]!.nodes,
    makespanSeconds: medianOf(group, ({ seconds }) => Math.max(...seconds), 2),
    limitSeconds: medianOf(group, (round) => round.limitSeconds, 2),
    slowestOverMedian: medianOf(group, ({ seconds }) => Math.max(...seconds) / median(seconds), 3),
    registryCopies: medianOf(group, ({ registryCopies }) => registryCopies, 3),
  }
}

function medianOf(group: Round[], figure: (round: Round) => number, digits: number): number {
  return Number(median(group.map(figure)).toFixed(digits))
}

const COLUMNS = [
  'mode',
  'nodes',
  'seconds',
  'limit',
  'of limit',
  'slowest / median',
  'registry copies',
  'link',
]

export function renderFleet({ machine, runs }: FleetReport): string {
  const rows = runs.map((run, index) => [
    run.mode,
    String(run.nodes),
    run.makespanSeconds.toFixed(1),
    run.limitSeconds.toFixed(1),
    (run.makespanSeconds / run.limitSeconds).toFixed(2),
    run.slowestOverMedian.toFixed(2),
    run.registryCopies.toFixed(2),
    machine.measurement.rounds[index]?.linkCopies.toFixed(2) ?? '',
  ])
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  )
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(COLUMNS), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}
