import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { makeBlob } from '../measure/blob.ts'
import type { State, Transfer } from './report.ts'
import { runsAgain, settled } from './reruns.ts'
import type { BenchPeer, BenchSystem, OpenSystem } from './systems/system.ts'
import { type HeldPair, takeTurn } from './turn.ts'

/** Transfers that are compared with each other: every system takes its turn. */
export interface Group {
  downloaders: number
  mib: number
}

export interface RoundsPlan {
  systems: BenchSystem[]
  states: readonly State[]
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
  for (let round = 1; round <= plan.roundsMax; round++) {
    for (const group of plan.groups) {
      const startedAtMs = performance.now()
      if (!budget.fits(group, startedAtMs)) continue
      for (const bench of rotated(plan.systems, round - 1)) {
        const turn = { ...held.get(bench)!, blobs: blobs.get(group.mib)!, downloaders: group.downloaders }
        transfers.push(...(await runTurn(plan, { bench, round, turn })))
      }
      budget.took(group, performance.now() - startedAtMs)
    }
  }
  return transfers
}

interface NamedTurn {
  bench: BenchSystem
  round: number
  turn: HeldBlobs & { blobs: HeldPair; downloaders: number }
}

/** A turn, and again while others disturb it. */
async function runTurn(
  { states, folder, say }: RoundsPlan,
  { bench, round, turn }: NamedTurn,
): Promise<Transfer[]> {
  const attempts: Transfer[][] = []
  do {
    const attempt = attempts.length + 1
    const place = join(folder, `${round}-${attempt}-${bench.name}-${turn.downloaders}`)
    const measured = await takeTurn({ ...turn, states, folder: place })
    const names = { system: bench.name, round, attempt, isCounted: true }
    attempts.push(measured.map((transfer) => ({ ...names, ...transfer })))
    for (const transfer of attempts.at(-1)!) say(`round ${round}: ${describe(transfer)}`)
  } while (runsAgain(attempts))
  return settled(attempts)
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
async function makeBlobs({ groups, folder, say }: RoundsPlan): Promise<Map<number, HeldPair>> {
  const blobs = new Map<number, HeldPair>()
  const blobFolder = join(folder, 'blobs')
  await mkdir(blobFolder)
  for (const mib of new Set(groups.map((group) => group.mib))) {
    say(`making two blobs of ${mib} MiB`)
    const [first, next] = [
      await makeBlob(blobFolder, mib * 2 ** 20),
      await makeBlob(blobFolder, mib * 2 ** 20),
    ]
    blobs.set(mib, { first, next })
  }
  return blobs
}

async function openSystems(
  { systems, folder, say, running }: RoundsPlan,
  pairs: HeldPair[],
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
    const blobs = pairs.flatMap(({ first, next }) => [first, next])
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
  const { system, state, downloaders, blobBytes, seconds, cpuSeconds, bytesFromElsewhere } = transfer
  const delivered = blobBytes * downloaders
  const rate = `${(delivered / 2 ** 20 / seconds).toFixed(0)} MiB/s, ${(cpuSeconds / (delivered / 2 ** 30)).toFixed(2)} CPU s/GiB`
  const elsewhere =
    bytesFromElsewhere === 0 ? '' : `, ${(bytesFromElsewhere / 2 ** 20).toFixed(0)} MiB from the registry`
  return `${system} ${state}, ${blobBytes / 2 ** 20} MiB to ${downloaders}: ${rate}, others ${transfer.othersCores.toFixed(2)} cores${elsewhere}`
}
