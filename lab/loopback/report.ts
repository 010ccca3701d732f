import type { ProcessorUse } from '../machine/processor-use.ts'
import type { BlobState } from './options.ts'

/** One blob, pulled by all nodes at once; processor times and idle time in cores and seconds of this machine. */
export interface RoundReport extends ProcessorUse {
  round: number
  state: BlobState
  nodes: number
  blobMib: number
  /** Until the last client had everything. */
  seconds: number
  /** Of each node's client, in the order of the nodes. */
  secondsOfNodes: number[]
  /** The sum over the nodes. */
  mibPerSecond: number
  /** User and system time of nodes, holder, tracker and registry, without the clients. */
  cpuSecondsPerGib: number
  clientCpuSecondsPerGib: number
  /** Bytes that left the registry during the round, in copies of the blob. */
  registryCopies: number
  /** Bytes that the holder sent to peers meanwhile, in copies; null when cold. */
  holderCopies: number | null
}

/** The document of `--json`. */
export interface LoopbackReport {
  rounds: RoundReport[]
}

const COLUMNS: [string, (round: RoundReport) => string][] = [
  ['round', ({ round }) => String(round)],
  ['state', ({ state }) => state],
  ['nodes', ({ nodes }) => String(nodes)],
  ['MiB each', ({ blobMib }) => String(blobMib)],
  ['seconds', ({ seconds }) => seconds.toFixed(2)],
  ['MiB/s, all together', ({ mibPerSecond }) => mibPerSecond.toFixed(0)],
  ['CPU s per GiB', ({ cpuSecondsPerGib }) => cpuSecondsPerGib.toFixed(2)],
  ['of the clients', ({ clientCpuSecondsPerGib }) => clientCpuSecondsPerGib.toFixed(2)],
  ['registry copies', ({ registryCopies }) => registryCopies.toFixed(2)],
  ['holder copies', ({ holderCopies }) => holderCopies?.toFixed(2) ?? '–'],
  ["others' cores", ({ othersCores }) => othersCores.toFixed(2)],
  ['idle', ({ idleCores }) => idleCores.toFixed(2)],
  ['steal', ({ stealCores }) => stealCores.toFixed(2)],
]

export function renderRounds({ rounds }: LoopbackReport): string {
  const rows = [
    COLUMNS.map(([head]) => head),
    ...rounds.map((round) => COLUMNS.map(([, cell]) => cell(round))),
  ]
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((cell, column) => cell.padStart(widths[column]!)).join('  ')).join('\n')
}
