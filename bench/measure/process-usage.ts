import { readFileSync, writeFileSync } from 'node:fs'

/** Resources of running processes, from /proc (proc(5)), with all their threads. */

/** USER_HZ, the unit of utime and stime: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100
/** Index of utime and stime among the fields after the command's name, which may contain spaces itself. */
const UTIME_FIELD = 11
const STIME_FIELD = 12

/** User and system time since the processes began. */
export function cpuSecondsOf(pids: number[]): number {
  return pids.reduce((sum, pid) => sum + cpuTicks(pid), 0) / TICKS_PER_SECOND
}

function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[UTIME_FIELD]) + Number(fields[STIME_FIELD])
}

/** Restarts `peakRssBytesOf` at the present memory of the processes. */
export function resetPeakRss(pids: number[]): void {
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Largest resident memory of any of the processes (VmHWM). */
export function peakRssBytesOf(pids: number[]): number {
  return Math.max(...pids.map(peakRssBytes))
}

/** Resident memory of the process now. */
export function rssBytesOf(pid: number): number {
  return statusBytes(pid, 'VmRSS')
}

function peakRssBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM')
}

function statusBytes(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(
    readFileSync(`/proc/${pid}/status`, 'latin1'),
  )?.[1]
  return Number(kib) * 1024
}
