import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { processorUse, readProcessors } from '../../lab/machine/processor-use.ts'
import type { BenchBlob } from '../measure/blob.ts'
import { BenchContentError, BenchPeerError } from '../measure/errors.ts'
import { peakRssBytesOf, resetPeakRss, untilQuiet } from '../measure/process-usage.ts'
import { fillPageCache } from './lent-memory.ts'
import type { Transfer } from './report.ts'
import type { BenchPeer, OpenSystem } from './systems/system.ts'

/** A longer transfer counts as failed. */
const TRANSFER_SECONDS_MAX = 300

export type Measured = Omit<Transfer, 'system' | 'state' | 'round' | 'attempt' | 'isCounted'>

export interface TransferPlan {
  system: OpenSystem
  /** Undefined: only the system's registry has the blob. */
  holder: BenchPeer | undefined
  peers: BenchPeer[]
  /** Every peer was told of it. */
  blob: BenchBlob
  /** For a file that is removed at once. */
  folder: string
}

/**
 * Lets all peers download at once, and checks what they have.
 * @throws BenchPeerError, BenchContentError
 */
export async function measureTransfer(plan: TransferPlan): Promise<Measured> {
  const { peers, blob, folder } = plan
  await mkdir(folder, { recursive: true })
  await fillPageCache(join(folder, 'filler'), blob.bytes * peers.length)
  const measured = await timeTransfer(plan)
  for (const peer of peers) await checkContent(peer, blob)
  return measured
}

/** The measured part: from the request to the downloaders until the last of them has everything. */
async function timeTransfer({ system, holder, peers, blob }: TransferPlan): Promise<Measured> {
  const holders = holder === undefined ? [] : [holder]
  const peerPids = [...holders, ...peers].map(({ pid }) => pid)
  const pids = [...peerPids, ...system.servicePids]
  await untilQuiet(pids)
  const sent = async () => ({
    holder: (await holder?.sentBytes(blob)) ?? null,
    registry: (await system.registry?.sentBytes(blob)) ?? null,
  })
  const sentBefore = await sent()
  resetPeakRss(peerPids)
  const before = readProcessors(pids)
  const startedAtMs = performance.now()
  const bytesFromElsewhere = await withinTime(downloadAll(holders, peers, blob))
  const seconds = (performance.now() - startedAtMs) / 1000
  const after = readProcessors(pids)
  const peakRssBytes = peakRssBytesOf(peerPids)
  const sentAfter = await sent()
  const sentOf = (who: 'holder' | 'registry') => difference(sentAfter[who], sentBefore[who])
  return {
    ...{ downloaders: peers.length, blobBytes: blob.bytes, seconds, peakRssBytes, bytesFromElsewhere },
    cpuSeconds: after.ownSeconds - before.ownSeconds,
    ...processorUse(before, after, seconds),
    holderSentBytes: sentOf('holder'),
    registrySentBytes: sentOf('registry'),
  }
}

function difference(after: number | null, before: number | null): number | null {
  return after === null || before === null ? null : after - before
}

/** @returns bytes that did not come from peers */
async function downloadAll(holders: BenchPeer[], peers: BenchPeer[], blob: BenchBlob): Promise<number> {
  const ports = [...holders, ...peers].map(({ port }) => port)
  const downloads = peers.map((peer, index) => peer.download(blob, ports.slice(0, holders.length + index)))
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
