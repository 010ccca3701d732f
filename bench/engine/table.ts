import { type Machine, machineText } from '../measure/machine.ts'
import { PUMP_CPU_SECONDS_MAX, type Report, type Run, slowPumps } from './report.ts'
import { OTHERS_CORES_MAX } from './reruns.ts'

/** The report as text for people. The table is Markdown, so that it fits into docs/performance.md unchanged. */
export function renderReport(report: Report): string {
  const { machine, runs } = report
  const closing = [...ratioLines(runs), ...warningLines(runs)]
  return [...machineLines(machine), '', renderTable(runs), '', ...closing].join('\n')
}

/** Fewer rounds give no median that is worth quoting. */
const ROUNDS_MIN = 3

/** @returns lines about the machine, the versions and the rounds */
export function machineLines(machine: Machine): string[] {
  const { groups, isQuick, mibFromRegistry, minutes } = machine.measurement
  const blobs = groups.map(
    ({ downloaders, blobMib, rounds }) => `${blobMib} MiB to each of ${downloaders} (${rounds} rounds)`,
  )
  const isShort = isQuick || groups.some(({ rounds }) => rounds < ROUNDS_MIN)
  return [
    machineText(machine),
    `Versions: ${Object.entries(machine.versions)
      .map((version) => version.join(' '))
      .join(', ')}`,
    `Medians of interleaved rounds, in ${minutes} minutes: ${blobs.join(', ')}`,
    ...(mibFromRegistry === 0
      ? []
      : [`${mibFromRegistry} MiB of all that Shoal delivered came from the registry, not from peers.`]),
    ...(isShort ? ['This was a short run: few rounds of a small blob. Do not quote it.'] : []),
  ]
}

interface Column {
  head: string
  cell: (run: Run) => string
  isText?: boolean
}

const COLUMNS: Column[] = [
  { head: 'system', cell: ({ system }) => system, isText: true },
  { head: 'state', cell: ({ state }) => state, isText: true },
  { head: 'downloaders', cell: ({ downloaders }) => String(downloaders) },
  { head: 'MiB each', cell: ({ blobMib }) => String(blobMib) },
  { head: 'MiB/s, all together', cell: ({ mibPerSecond }) => mibPerSecond.toFixed(0) },
  { head: 'CPU s per GiB', cell: ({ cpuSecondsPerGib }) => cpuSecondsPerGib.toFixed(2) },
  { head: 'peak memory, MiB', cell: ({ peakRssMib }) => peakRssMib.toFixed(0) },
  { head: 'copies sent by the holder', cell: ({ firstHolderCopies }) => copies(firstHolderCopies) },
  { head: 'by the registry', cell: ({ registryCopies }) => copies(registryCopies) },
  { head: "others' cores", cell: ({ othersCores }) => othersCores.toFixed(2) },
  { head: 'idle', cell: ({ idleCores }) => idleCores.toFixed(2) },
  { head: 'steal', cell: ({ stealCores }) => stealCores.toFixed(2) },
  { head: 'transfers', cell: ({ transfers, discarded }) => `${transfers} of ${transfers + discarded}` },
]

function copies(count: number | null): string {
  return count?.toFixed(2) ?? '–'
}

export function renderTable(runs: Run[]): string {
  const rows = [COLUMNS.map(({ head }) => head), ...runs.map((run) => COLUMNS.map(({ cell }) => cell(run)))]
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const padded = (cell: string, column: number) =>
    COLUMNS[column]!.isText ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)
  const [head, ...body] = rows.map((row) => `| ${row.map(padded).join(' | ')} |`)
  const rule = widths.map((width, column) =>
    COLUMNS[column]!.isText ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  )
  return [head, `| ${rule.join(' | ')} |`, ...body].join('\n')
}

/** Shoal's speed as a multiple of each other system's, and its processor time as a multiple of the pump's. */
export function ratioLines(runs: Run[]): string[] {
  return runs.filter(({ system }) => system === 'shoal').flatMap((shoal) => ratiosOf(shoal, runs))
}

function ratiosOf(shoal: Run, runs: Run[]): string[] {
  const others = runs.filter((run) => run.system !== 'shoal' && run.system !== 'pump' && isBeside(run, shoal))
  const speeds = others.map(
    ({ system, mibPerSecond }) => `${(shoal.mibPerSecond / mibPerSecond).toFixed(2)} × ${system}`,
  )
  const pump = runs.find((run) => run.system === 'pump' && isBeside(run, shoal))
  const warm = runs.find(
    (run) => run.system === 'shoal' && run.state === 'warm' && isBeside(run, { ...shoal, state: 'warm' }),
  )
  const costs = [
    ...(pump === undefined ? [] : [`${costOver(shoal, pump)} × the pump's CPU`]),
    ...(shoal.state === 'cold' && warm !== undefined ? [`${costOver(shoal, warm)} × its own CPU warm`] : []),
  ]
  const facts = [...speeds, ...costs]
  const { downloaders, state, blobMib } = shoal
  return facts.length === 0 ? [] : [`Shoal to ${downloaders}, ${state}, ${blobMib} MiB: ${facts.join(', ')}`]
}

function isBeside(one: Run, other: Pick<Run, 'downloaders' | 'blobMib' | 'state'>): boolean {
  return one.downloaders === other.downloaders && one.blobMib === other.blobMib && one.state === other.state
}

function costOver(one: Run, other: Run): string {
  return (one.cpuSecondsPerGib / other.cpuSecondsPerGib).toFixed(2)
}

/** Reasons not to compare the run with another day's. */
export function warningLines(runs: Run[]): string[] {
  const slow = slowPumps(runs).map(
    ({ downloaders, cpuSecondsPerGib }) =>
      `This machine was slow: the warm pump to ${downloaders} took ${cpuSecondsPerGib.toFixed(2)} CPU s per GiB; a run counts up to ${PUMP_CPU_SECONDS_MAX[downloaders]}.`,
  )
  const disturbed = runs
    .filter(({ othersCores }) => othersCores > OTHERS_CORES_MAX)
    .map(
      ({ system, state, downloaders, blobMib, othersCores }) =>
        `Disturbed in every attempt: ${system} ${state}, ${blobMib} MiB to ${downloaders} (others used ${othersCores.toFixed(2)} cores).`,
    )
  return [...slow, ...disturbed]
}
