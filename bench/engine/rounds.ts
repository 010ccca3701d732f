import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type BenchBlob, makeBlob } from '../measure/blob.ts'
import type { Transfer } from './report.ts'
import type { BenchPeer, BenchSystem, OpenSystem } from './systems/system.ts'
import { measureTransfer } from './transfer.ts'

/** Transfers that are compared with each other: every system takes its turn. */
export interface Group {
  downloaders: number
  mib: number
}

export interface RoundsPlan {
  systems: BenchSystem[]
  groups: Group[]
  roundsMax: number
  /** No group begins that would end after this moment, as `performance.now()` counts. */
  deadlineMs: number
  /** Exists, and is removed by the caller. */
  folder: string
  say: (line: string) => void
  /** Everything that must be stopped, whatever happens. */
  running: AsyncDisposableStack
}

interface HeldBlobs {
  system: OpenSystem
  holder: BenchPeer
}

/**
 * Opens every system with a holder of all blobs. Runs rounds of all groups, then of those that still fit when time
 * runs short. Each round begins with another system, so that none always runs at the same moment.
 */
export async function runRounds(plan: RoundsPlan): Promise<Transfer[]> {
  const blobs = await makeBlobs(plan)
  const held = await openSystems(plan, [...blobs.values()])
  const budget = new TimeBudget(plan.deadlineMs)
  const transfers: Transfer[] = []
  for (let round = 0; round < plan.roundsMax; round++) {
    for (const group of plan.groups) {
      const startedAtMs = performance.now()
      if (!budget.fits(group, startedAtMs)) continue
      for (const bench of rotated(plan.systems, round)) {
        const folder = join(plan.folder, `${round}-${bench.name}-${group.downloaders}`)
        const task = { ...held.get(bench)!, blob: blobs.get(group.mib)!, downloaders: group.downloaders }
        const transfer = { system: bench.name, ...(await measureTransfer({ ...task, folder })) }
        plan.say(`round ${round + 1}: ${describe(transfer)}`)
        transfers.push(transfer)
      }
      budget.took(group, performance.now() - startedAtMs)
    }
  }
  return transfers
}

/** Factor by which a group may take longer than the last time. */
const TIME_MARGIN = 1.15

/** Which groups can still be measured in time; all times in milliseconds. */
export class TimeBudget {
  readonly #deadlineMs: number
  readonly #lastMs = new Map<Group, number>()

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs
  }

  took(group: Group, durationMs: number): void {
    this.#lastMs.set(group, durationMs)
  }

  /** The first time shows how long a group takes. */
  fits(group: Group, nowMs: number): boolean {
    return nowMs + (this.#lastMs.get(group) ?? 0) * TIME_MARGIN <= this.#deadlineMs
  }
}

/** @returns blobs by their size in MiB */
async function makeBlobs({ groups, folder, say }: RoundsPlan): Promise<Map<number, BenchBlob>> {
  const blobs = new Map<number, BenchBlob>()
  const blobFolder = join(folder, 'blobs')
  await mkdir(blobFolder)
  for (const mib of new Set(groups.map((group) => group.mib))) {
    say(`making a blob of ${mib} MiB`)
    blobs.set(mib, await makeBlob(blobFolder, mib * 2 ** 20))
  }
  return blobs
}

async function openSystems(
  { systems, folder, say, running }: RoundsPlan,
  blobs: BenchBlob[],
): Promise<Map<BenchSystem, HeldBlobs>> {
  const held = new Map<BenchSystem, HeldBlobs>()
  for (const bench of systems) {
    say(`starting ${bench.name}`)
    const paths = ['services', 'holder'].map((part) => join(folder, `${bench.name}-${part}`)) as [
      string,
      string,
    ]
    for (const path of paths) await mkdir(path)
    const system = running.adopt(await bench.open(paths[0]), (it) => it.close())
    const holder = running.adopt(await system.startHolder(paths[1], blobs), (it) => it.stop())
    held.set(bench, { system, holder })
  }
  return held
}

/** The list from its element `by` on, and then from its start. */
export function rotated<Item>(items: Item[], by: number): Item[] {
  const start = by % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}

function describe(transfer: Transfer): string {
  const { system, downloaders, blobBytes, seconds, cpuSeconds, registryBytes } = transfer
  const mibPerSecond = (blobBytes * downloaders) / 2 ** 20 / seconds
  const registry =
    registryBytes === 0 ? '' : `, ${registryBytes / 2 ** 20} MiB from the registry instead of peers`
  return `${system} to ${downloaders}: ${mibPerSecond.toFixed(0)} MiB/s, ${cpuSeconds.toFixed(2)} CPU s${registry}`
}
