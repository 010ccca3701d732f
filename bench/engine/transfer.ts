import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { BenchBlob } from '../measure/blob.ts'
import { BenchContentError, BenchPeerError } from '../measure/errors.ts'
import { cpuSecondsOf, peakRssBytesOf, resetPeakRss } from '../measure/process-usage.ts'
import { fillPageCache } from './lent-memory.ts'
import type { Transfer } from './report.ts'
import type { BenchPeer, OpenSystem } from './systems/system.ts'

/** Time for the start-up work of a process to finish. */
const SETTLE_MS = 300
/** A longer transfer counts as failed. */
const TRANSFER_SECONDS_MAX = 180

export type Measured = Omit<Transfer, 'system'>

interface TransferPlan {
  system: OpenSystem
  holder: BenchPeer
  blob: BenchBlob
  downloaders: number
  /** Does not exist yet and is removed at the end. */
  folder: string
}

/**
 * Starts fresh downloaders, lets all of them download at once, checks what they have, and stops them.
 * @throws BenchPeerError, BenchContentError
 */
export async function measureTransfer(plan: TransferPlan): Promise<Measured> {
  const { system, blob, folder } = plan
  let peers: BenchPeer[] = []
  try {
    await system.settle()
    peers = await Promise.all(Array.from({ length: plan.downloaders }, (_, index) => startPeer(plan, index)))
    await fillPageCache(join(folder, 'filler'), blob.bytes * plan.downloaders)
    const measured = await timeTransfer(plan, peers)
    for (const peer of peers) await checkContent(peer, blob)
    return measured
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
    await rm(folder, { recursive: true, force: true })
  }
}

async function startPeer({ system, blob, folder }: TransferPlan, index: number): Promise<BenchPeer> {
  const peerFolder = join(folder, String(index))
  await mkdir(peerFolder, { recursive: true })
  return system.startDownloader(peerFolder, blob)
}

/** The measured part: from the request to the downloaders until the last of them has everything. */
async function timeTransfer({ system, holder, blob }: TransferPlan, peers: BenchPeer[]): Promise<Measured> {
  const peerPids = [holder, ...peers].map(({ pid }) => pid)
  const pids = [...peerPids, ...system.servicePids]
  await delay(SETTLE_MS)
  const sentBefore = await holder.sentBytes(blob)
  resetPeakRss(peerPids)
  const cpuBefore = cpuSecondsOf(pids)
  const startedAtMs = performance.now()
  const registryBytes = await withinTime(downloadAll(holder, peers, blob))
  const seconds = (performance.now() - startedAtMs) / 1000
  const cpuSeconds = cpuSecondsOf(pids) - cpuBefore
  const peakRssBytes = peakRssBytesOf(peerPids)
  const sentAfter = await holder.sentBytes(blob)
  const holderSentBytes = sentBefore === null || sentAfter === null ? null : sentAfter - sentBefore
  const transfer = { downloaders: peers.length, blobBytes: blob.bytes, registryBytes }
  return { ...transfer, seconds, cpuSeconds, peakRssBytes, holderSentBytes }
}

/** @returns bytes that did not come from peers */
async function downloadAll(holder: BenchPeer, peers: BenchPeer[], blob: BenchBlob): Promise<number> {
  const ports = [holder, ...peers].map(({ port }) => port)
  const downloads = peers.map((peer, index) => peer.download(blob, ports.slice(0, index + 1)))
  return (await Promise.all(downloads)).reduce((sum, bytes) => sum + bytes, 0)
}

async function withinTime<Result>(work: Promise<Result>): Promise<Result> {
  const patience = new AbortController()
  const tooLong = delay(TRANSFER_SECONDS_MAX * 1000, undefined, { signal: patience.signal }).then(() => {
    throw new BenchPeerError(`a transfer took longer than ${TRANSFER_SECONDS_MAX} s`)
  })
  tooLong.catch(() => undefined) // Aborting it is no failure.
  return Promise.race([work, tooLong]).finally(() => patience.abort())
}

async function checkContent(peer: BenchPeer, blob: BenchBlob): Promise<void> {
  const hash = await peer.contentHash(blob)
  if (hash !== blob.name) throw new BenchContentError(`a downloaded file is ${hash}, not ${blob.name}`)
}
