import type { Machine } from '../measure/machine.ts'
import { median } from '../measure/median.ts'

export const SYSTEM_NAMES = [
  'shoal',
  'shoal-encrypted',
  'libtorrent-ssl',
  'libtorrent-plain',
  'webtorrent',
  'aria2',
] as const
export type SystemName = (typeof SYSTEM_NAMES)[number]

export const isSystemName = (text: string): text is SystemName =>
  (SYSTEM_NAMES as readonly string[]).includes(text)

/** One transfer of a blob to `downloaders` peers at once. */
export interface Transfer {
  system: SystemName
  downloaders: number
  blobBytes: number
  seconds: number
  /** User and system time of all processes of the transfer. */
  cpuSeconds: number
  /** Of the peer with the largest memory. */
  peakRssBytes: number
  /** Null where that is unknown. */
  holderSentBytes: number | null
  /** Bytes that did not come from peers; 0 where there is no other source. */
  registryBytes: number
}

/** The medians of one system at one number of downloaders; `mibPerSecond` is the sum over the downloaders. */
export interface Run {
  system: SystemName
  downloaders: number
  mibPerSecond: number
  cpuSecondsPerGib: number
  peakRssMib: number
  /** Bytes sent by the first holder, in copies of the blob; null where that is unknown. */
  firstHolderCopies: number | null
}

/** The document of `--json`. */
export interface Report {
  machine: Machine
  runs: Run[]
}

const MIB = 2 ** 20
const GIB = 2 ** 30

/** One row per system and number of downloaders, in the order in which they first appear. */
export function summarise(transfers: Transfer[]): Run[] {
  const groups = Map.groupBy(transfers, ({ system, downloaders }) => `${downloaders} ${system}`)
  return [...groups.values()].map(medianRun)
}

function medianRun(transfers: Transfer[]): Run {
  const { system, downloaders } = transfers[0]!
  const rowOf = (measure: (transfer: Transfer) => number, digits: number) =>
    rounded(median(transfers.map(measure)), digits)
  const delivered = ({ blobBytes }: Transfer) => blobBytes * downloaders
  const canTell = transfers.every(({ holderSentBytes }) => holderSentBytes !== null)
  return {
    system,
    downloaders,
    mibPerSecond: rowOf((transfer) => delivered(transfer) / MIB / transfer.seconds, 1),
    cpuSecondsPerGib: rowOf((transfer) => transfer.cpuSeconds / (delivered(transfer) / GIB), 2),
    peakRssMib: rowOf(({ peakRssBytes }) => peakRssBytes / MIB, 1),
    firstHolderCopies: canTell
      ? rowOf(({ holderSentBytes, blobBytes }) => holderSentBytes! / blobBytes, 2)
      : null,
  }
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
