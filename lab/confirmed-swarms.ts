import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'undici'
import { ADMIN_SOCKET } from '../core/tracker-sockets.ts'
import { LabPartError } from './errors.ts'

/** From the last byte on the second node to its report: a hash over the whole blob at most. */
const CONFIRM_PATIENCE_MS = 60_000
const POLL_MS = 50
const METRIC = /^shoal_tracker_swarms_confirmed_total (\d+)$/m

/**
 * Resolves when the tracker with this data folder has confirmed this many swarms since it started: two nodes have
 * matched each against its digest. Before that every node that downloads hashes all bytes twice.
 * @throws LabPartError when that does not happen
 */
export async function untilConfirmed(trackerDataDir: string, swarms: number): Promise<void> {
  const deadlineMs = performance.now() + CONFIRM_PATIENCE_MS
  for (;;) {
    const confirmed = await confirmedSwarms(trackerDataDir)
    if (confirmed >= swarms) return
    if (performance.now() > deadlineMs)
      throw new LabPartError(`the tracker has confirmed ${confirmed} of ${swarms} blobs`)
    await delay(POLL_MS)
  }
}

/** Swarms that a tracker has confirmed since it started. */
export async function confirmedSwarms(trackerDataDir: string): Promise<number> {
  const tracker = new Client('http://localhost', { socketPath: join(trackerDataDir, ADMIN_SOCKET) })
  try {
    const { body } = await tracker.request({ path: '/metrics', method: 'GET' })
    return confirmedCount(await body.text())
  } finally {
    await tracker.close()
  }
}

/** @param metrics the tracker's, in Prometheus' text format */
export function confirmedCount(metrics: string): number {
  return Number(METRIC.exec(metrics)?.[1] ?? 0)
}
