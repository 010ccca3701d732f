import { type Machine, machineText } from '../measure/machine.ts'
import type { Report, Run } from './report.ts'

/** The report as text for people. The table is Markdown, so that it fits into docs/performance.md unchanged. */
export function renderReport(report: Report): string {
  return [...machineLines(report.machine), '', renderTable(report.runs), '', ...ratioLines(report.runs)].join(
    '\n',
  )
}

/** @returns lines that tell what was measured, where and how */
export function machineLines(machine: Machine): string[] {
  const { groups, isQuick, mibFromRegistry } = machine.measurement
  const blobs = groups.map(
    ({ downloaders, blobMib, rounds }) => `${blobMib} MiB to each of ${downloaders} (${rounds} rounds)`,
  )
  return [
    machineText(machine),
    `Versions: ${Object.entries(machine.versions)
      .map((version) => version.join(' '))
      .join(', ')}`,
    `Medians of interleaved rounds: ${blobs.join(', ')}`,
    ...(mibFromRegistry === 0
      ? []
      : [`${mibFromRegistry} MiB of all that Shoal delivered came from the registry, not from peers.`]),
    ...(isQuick ? ['This was a quick run: few rounds of a small blob. Do not quote it.'] : []),
  ]
}

const HEAD = [
  'system',
  'downloaders',
  'MiB/s, all together',
  'CPU s per GiB',
  'peak memory, MiB',
  'copies sent by the holder',
]

export function renderTable(runs: Run[]): string {
  const rows = runs.map((run) => [
    run.system,
    String(run.downloaders),
    run.mibPerSecond.toFixed(0),
    run.cpuSecondsPerGib.toFixed(2),
    run.peakRssMib.toFixed(0),
    run.firstHolderCopies?.toFixed(2) ?? 'cannot tell',
  ])
  const widths = HEAD.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  )
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => pad(cell, widths[column]!, column)).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(HEAD), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}

/** Names are aligned left, numbers right. */
function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width)
}

/** Shoal's speed as a multiple of each other system's, for every number of downloaders. */
export function ratioLines(runs: Run[]): string[] {
  return runs
    .filter(({ system }) => system === 'shoal')
    .flatMap(({ downloaders, mibPerSecond }) => {
      const others = runs.filter((run) => run.downloaders === downloaders && run.system !== 'shoal')
      const ratios = others.map((run) => `${(mibPerSecond / run.mibPerSecond).toFixed(2)} × ${run.system}`)
      return ratios.length === 0 ? [] : [`Shoal to ${downloaders}: ${ratios.join(', ')}`]
    })
}
