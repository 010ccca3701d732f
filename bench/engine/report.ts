import type { ProcessorUse } from '../../lab/machine/processor-use.ts'
import type { Machine } from '../measure/machine.ts'
import { median } from '../measure/median.ts'

export const SYSTEM_NAMES = [
  'shoal',
  'shoal-encrypted',
  'pump',
  'libtorrent-ssl',
  'libtorrent-plain',
  'webtorrent',
  'aria2',
] as const
export type SystemName = (typeof SYSTEM_NAMES)[number]

export const isSystemName = (text: string): text is SystemName =>
  (SYSTEM_NAMES as readonly string[]).includes(text)

/**
 * `fresh`: the downloaders were started for this transfer, and a peer has the blob. `warm`: the same processes, which
 * have moved a blob before, get another one. `cold`: they get a blob that only a registry has.
 */
export const STATES = ['fresh', 'warm', 'cold'] as const
export type State = (typeof STATES)[number]

export const isState = (text: string): text is State => (STATES as readonly string[]).includes(text)

/** One transfer of a blob to `downloaders` peers at once. */
export interface Transfer extends ProcessorUse {
  system: SystemName
  state: State
  downloaders: number
  blobBytes: number
  /** From 1. */
  round: number
  /** From 1; more than 1 in a round that was run again. */
  attempt: number
  /** False: run again, because others used too much of the machine. */
  isCounted: boolean
  seconds: number
  /** User and system time of all processes of the transfer. */
  cpuSeconds: number
  /** Of the peer with the largest memory. */
  peakRssBytes: number
  /** Null where that is unknown, and where there is no holder. */
  holderSentBytes: number | null
  /** By the registry's own count, null where there is none. */
  registrySentBytes: number | null
  /** Bytes that did not come from peers, by the downloaders' count; 0 where there is no other source. */
  bytesFromElsewhere: number
}

/** The counted transfers of one system to one number of downloaders: medians, unless said otherwise. */
export interface Run {
  system: SystemName
  state: State
  downloaders: number
  blobMib: number
  /** The sum over the downloaders. */
  mibPerSecond: number
  cpuSecondsPerGib: number
  peakRssMib: number
  /** Bytes sent by the first holder, in copies of the blob; null where that is unknown. */
  firstHolderCopies: number | null
  /** Bytes sent by the registry, in copies of the blob; null where there is none. */
  registryCopies: number | null
  /** The largest of the counted transfers, in cores. */
  othersCores: number
  idleCores: number
  stealCores: number
  /** Counted transfers. */
  transfers: number
  /** Transfers that do not count, because others used too much of the machine. */
  discarded: number
}

/** The document of `--json`. */
export interface Report {
  machine: Machine
  runs: Run[]
  /** All of them, in the order of time. */
  transfers: Transfer[]
}

const MIB = 2 ** 20
const GIB = 2 ** 30

/** One row per system, state, size and number of downloaders, in the order in which they first appear. */
export function summarise(transfers: Transfer[]): Run[] {
  const groups = Map.groupBy(transfers, ({ system, state, downloaders, blobBytes }) =>
    [system, state, downloaders, blobBytes].join(' '),
  )
  return [...groups.values()].map(runOf)
}

function runOf(all: Transfer[]): Run {
  const transfers = all.filter(({ isCounted }) => isCounted)
  const { system, state, downloaders, blobBytes } = transfers[0]!
  const rowOf = (measure: (transfer: Transfer) => number, digits: number) =>
    rounded(median(transfers.map(measure)), digits)
  const copiesOf = (measure: (transfer: Transfer) => number | null) =>
    transfers.every((transfer) => measure(transfer) !== null)
      ? rowOf((transfer) => measure(transfer)! / blobBytes, 2)
      : null
  const delivered = blobBytes * downloaders
  return {
    ...{ system, state, downloaders, blobMib: blobBytes / MIB },
    mibPerSecond: rowOf(({ seconds }) => delivered / MIB / seconds, 1),
    cpuSecondsPerGib: rowOf(({ cpuSeconds }) => cpuSeconds / (delivered / GIB), 2),
    peakRssMib: rowOf(({ peakRssBytes }) => peakRssBytes / MIB, 1),
    firstHolderCopies: copiesOf(({ holderSentBytes }) => holderSentBytes),
    registryCopies: copiesOf(({ registrySentBytes }) => registrySentBytes),
    othersCores: rounded(Math.max(...transfers.map(({ othersCores }) => othersCores)), 2),
    idleCores: rowOf(({ idleCores }) => idleCores, 2),
    stealCores: rowOf(({ stealCores }) => stealCores, 2),
    transfers: transfers.length,
    discarded: all.length - transfers.length,
  }
}

/**
 * Most CPU seconds per GiB of the warm pump, by downloaders: above that the machine is slower than usual, and no figure
 * of the run should be compared with another day's.
 */
export const PUMP_CPU_SECONDS_MAX: Readonly<Record<number, number>> = { 1: 2.2, 4: 2.6, 8: 2.8 }

/** The rows of the pump that are above their bound. */
export function slowPumps(runs: Run[]): Run[] {
  return runs.filter(
    ({ system, state, downloaders, cpuSecondsPerGib }) =>
      system === 'pump' &&
      state === 'warm' &&
      cpuSecondsPerGib > (PUMP_CPU_SECONDS_MAX[downloaders] ?? Number.POSITIVE_INFINITY),
  )
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
