import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type BenchBlob, makeBlob } from './blob.ts'
import type { Transfer } from './report.ts'
import type { BenchPeer, BenchSystem, OpenSystem } from './systems/system.ts'
import { measureTransfer } from './transfer.ts'

/** One combination that is measured once per round. */
export interface Cell {
  system: BenchSystem
  downloaders: number
  mib: number
}

export interface RoundsPlan {
  cells: Cell[]
  roundsMax: number
  /** After this moment, as `performance.now()` counts, nothing may still run. */
  deadlineMs: number
  /** Exists, and is removed by the caller. */
  folder: string
  say: (line: string) => void
  /** Everything that has to be stopped, whatever happens. */
  running: AsyncDisposableStack
}

/** A round may take so much longer than the one before it. */
const ROUND_TIME_MARGIN = 1.15

interface HeldBlobs {
  system: OpenSystem
  holder: BenchPeer
}

/**
 * Opens every system with a holder of all blobs; then full rounds, at least one, as long as time allows. Each round
 * begins with another system, so that none always runs at the same moment of the machine's day.
 */
export async function runRounds(plan: RoundsPlan): Promise<Transfer[]> {
  const blobs = await makeBlobs(plan)
  const held = await openSystems(plan, [...blobs.values()])
  const transfers: Transfer[] = []
  let roundMs = 0
  for (let round = 0; round < plan.roundsMax; round++) {
    const startedAtMs = performance.now()
    if (startedAtMs + roundMs * ROUND_TIME_MARGIN > plan.deadlineMs) break
    for (const cell of rotated(plan.cells, round)) {
      const name = `${round}-${cell.system.name}-${cell.downloaders}`
      const task = { ...held.get(cell.system)!, blob: blobs.get(cell.mib)!, downloaders: cell.downloaders }
      const measured = await measureTransfer({ ...task, folder: join(plan.folder, name) })
      transfers.push({ system: cell.system.name, ...measured })
      plan.say(`round ${round + 1}: ${describe(transfers.at(-1)!)}`)
    }
    roundMs = performance.now() - startedAtMs
  }
  return transfers
}

/** @returns blobs by their size in MiB */
async function makeBlobs({ cells, folder, say }: RoundsPlan): Promise<Map<number, BenchBlob>> {
  const blobs = new Map<number, BenchBlob>()
  const blobFolder = join(folder, 'blobs')
  await mkdir(blobFolder)
  for (const mib of new Set(cells.map((cell) => cell.mib))) {
    say(`making a blob of ${mib} MiB`)
    blobs.set(mib, await makeBlob(blobFolder, mib * 2 ** 20))
  }
  return blobs
}

async function openSystems(
  { cells, folder, say, running }: RoundsPlan,
  blobs: BenchBlob[],
): Promise<Map<BenchSystem, HeldBlobs>> {
  const held = new Map<BenchSystem, HeldBlobs>()
  for (const bench of new Set(cells.map(({ system }) => system))) {
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

function describe({ system, downloaders, blobBytes, seconds, cpuSeconds }: Transfer): string {
  const mibPerSecond = (blobBytes * downloaders) / 2 ** 20 / seconds
  return `${system} to ${downloaders}: ${mibPerSecond.toFixed(0)} MiB/s, ${cpuSeconds.toFixed(2)} CPU s`
}
