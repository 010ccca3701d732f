import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isSystemError } from '../../core/defects.ts'
import { type BenchBlob, makeBlob } from '../measure/blob.ts'
import type { State } from './report.ts'
import type { BenchPeer, OpenSystem } from './systems/system.ts'
import { type Measured, measureTransfer } from './transfer.ts'

export interface TurnPlan {
  system: OpenSystem
  holder: BenchPeer
  /** The holder has all of them. */
  blobs: HeldPair
  downloaders: number
  states: readonly State[]
  /** Does not exist yet and is removed at the end. */
  folder: string
}

/** Blobs of one size for one set of processes: for their first transfer, and for their next. */
export interface HeldPair {
  first: BenchBlob
  next: BenchBlob
}

/**
 * One turn of one system: starts downloaders, which get a first blob, then as long-lived processes a second one, then
 * one that only the registry has.
 * @returns the transfers of the wanted states
 * @throws BenchPeerError, BenchContentError
 */
export async function takeTurn(plan: TurnPlan): Promise<(Measured & { state: State })[]> {
  const { system, states, folder } = plan
  let peers: BenchPeer[] = []
  const transfers: (Measured & { state: State })[] = []
  try {
    await system.settle()
    peers = await Promise.all(Array.from({ length: plan.downloaders }, (_, index) => startPeer(plan, index)))
    for (const state of needed(states, system)) {
      const blob = await blobFor(state, plan)
      await Promise.all(peers.map((peer) => peer.prepare(blob)))
      const holder = state === 'cold' ? undefined : plan.holder
      transfers.push({ state, ...(await measureTransfer({ system, holder, peers, blob, folder })) })
      await removeCopies(folder, blob.bytes)
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
    await rm(folder, { recursive: true, force: true })
  }
  return transfers.filter(({ state }) => states.includes(state))
}

/** Every turn begins with processes that have moved nothing. */
export function needed(states: readonly State[], { registry }: Pick<OpenSystem, 'registry'>): State[] {
  const later = states.filter((state) => state === 'warm' || (state === 'cold' && registry !== undefined))
  return states.includes('fresh') || later.length > 0 ? ['fresh', ...later] : []
}

async function startPeer({ system, folder }: TurnPlan, index: number): Promise<BenchPeer> {
  const peerFolder = join(folder, String(index))
  await mkdir(peerFolder, { recursive: true })
  return system.startDownloader(peerFolder)
}

/** Nobody has seen the cold blob before: it is made for this one transfer. */
async function blobFor(state: State, { system, blobs, folder }: TurnPlan): Promise<BenchBlob> {
  if (state !== 'cold') return state === 'fresh' ? blobs.first : blobs.next
  const blob = await makeBlob(folder, blobs.first.bytes)
  await system.registry!.add(blob)
  return blob
}

/** Copies that were compared are no longer needed, and their memory is: the next transfer must not wait for a disk. */
async function removeCopies(folder: string, bytes: number): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const size = await sizeOf(path)
    if (size !== undefined && size >= bytes) await rm(path)
  }
}

/** @returns undefined for a file that is gone: a node replaces its state files whenever it likes */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}
