import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { cpuSecondsOf } from '../../lab/machine/processor-use.ts'

/** Memory and rest of running processes, from /proc (proc(5)); their processor time is in the lab's `processor-use.ts`. */

/** Restarts `peakRssBytesOf` at the present memory of the processes. */
export function resetPeakRss(pids: number[]): void {
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Largest resident memory of any of the processes (VmHWM). */
export function peakRssBytesOf(pids: number[]): number {
  return Math.max(...pids.map((pid) => statusBytes(pid, 'VmHWM')))
}

/** Resident memory of the process now. */
export function rssBytesOf(pid: number): number {
  return statusBytes(pid, 'VmRSS')
}

function statusBytes(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(
    readFileSync(`/proc/${pid}/status`, 'latin1'),
  )?.[1]
  return Number(kib) * 1024
}

/** Below it start-up work, late reports and saved states have ended; a process that only waits needs less. */
const QUIET_CORES_MAX = 0.1
const QUIET_LOOK_MS = 300
/** A process that never rests is measured all the same. */
const QUIET_PATIENCE_MS = 10_000

/** Resolves when the processes together do next to nothing. */
export async function untilQuiet(pids: number[]): Promise<void> {
  const deadlineMs = performance.now() + QUIET_PATIENCE_MS
  let last = cpuSecondsOf(pids)
  for (;;) {
    await delay(QUIET_LOOK_MS)
    const now = cpuSecondsOf(pids)
    if ((now - last) * 1000 <= QUIET_CORES_MAX * QUIET_LOOK_MS || performance.now() > deadlineMs) return
    last = now
  }
}
