import type { IdleReport } from './idle.ts'

/** Memory of a node, in MiB. */
export interface MemoryReport {
  smallMib: number
  largeGib: number
  /** Joined and idle. Not the first start, which loads the compiler; later starts do not need it. */
  idleMib: number
  peakMib: {
    /** The small layer from the registry … */
    small: number
    /** … and from a peer. */
    smallFromPeer: number
    /** Of the node that served it to that peer. */
    server: number
    /** The large layer from the registry; null when it was left out. */
    large: number | null
  }
}

export interface Bar {
  what: string
  mib: number
  mibMax: number
}

/** A node's bounds of memory, with its figures. */
function barsOf({ idleMib, peakMib, largeGib }: MemoryReport): Bar[] {
  const { small, smallFromPeer, large } = peakMib
  const bars = [
    { what: 'idle', mib: idleMib, mibMax: 120 },
    { what: 'peak, small layer from the registry', mib: small, mibMax: 250 },
    { what: 'peak, small layer from a peer', mib: smallFromPeer, mibMax: 250 },
  ]
  if (large === null) return bars
  return [
    ...bars,
    { what: `peak, ${largeGib} GiB`, mib: large, mibMax: 220 },
    { what: `${largeGib} GiB above the small layer`, mib: large - small, mibMax: 30 },
  ]
}

export function renderMemory(report: MemoryReport): string {
  const rows = barsOf(report).map(
    ({ what, mib, mibMax }) => `| ${what} | ${mib} | ${mibMax} | ${mib <= mibMax ? 'met' : 'missed'} |`,
  )
  return [
    '| memory of `shoal node` | MiB | bar | |',
    '|---|---:|---:|---|',
    ...rows,
    `| peak of the node that served the peer | ${report.peakMib.server} | | |`,
  ].join('\n')
}

/** Bounds of guard, node and relay together, idle. */
const IDLE_MIB_MAX = 100
const IDLE_CPU_PERCENT_MAX = 0.5

export function renderIdle({ minutes, shares, pssMib, cpuPercent }: IdleReport): string {
  const rows = Object.entries(shares).map(
    ([name, share]) => `| ${name} | ${share.pssMib.toFixed(1)} | ${share.anonymousMib.toFixed(1)} | |`,
  )
  const verdict = pssMib <= IDLE_MIB_MAX && cpuPercent <= IDLE_CPU_PERCENT_MAX ? 'met' : 'missed'
  return [
    `| idle for ${minutes} minutes | PSS, MiB | of it anonymous | bars: ${IDLE_MIB_MAX} MiB, ${IDLE_CPU_PERCENT_MAX} % |`,
    '|---|---:|---:|---|',
    ...rows,
    `| together, ${cpuPercent.toFixed(2)} % of a core | ${pssMib.toFixed(1)} | | ${verdict} |`,
  ].join('\n')
}
