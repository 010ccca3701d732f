import { readFileSync } from 'node:fs'

/**
 * What a machine's processors did, from /proc (proc(5)): a benchmark that counts only its own processes cannot see that
 * others took a core from it.
 */

/** USER_HZ, the unit of all times in /proc: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100
/** Indices of utime and cutime among the fields after the command's name, which may contain spaces itself. */
const UTIME_FIELD = 11
const CUTIME_FIELD = 13

/** Seconds of all processors together since the boot. */
export interface ProcessorTimes {
  busy: number
  /** Includes waiting for a disk. */
  idle: number
  /** The host ran somebody else, although a process here could have run. */
  steal: number
}

/** @param stat /proc/stat; its first line is the sum of all processors */
export function processorTimes(stat = readFileSync('/proc/stat', 'latin1')): ProcessorTimes {
  const [, ...ticks] = stat.slice(0, stat.indexOf('\n')).split(/\s+/)
  const [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.map(Number) as number[]
  const seconds = (...parts: (number | undefined)[]) =>
    parts.reduce<number>((sum, part) => sum + (part ?? 0), 0) / TICKS_PER_SECOND
  return {
    busy: seconds(user, nice, system, irq, softirq),
    idle: seconds(idle, iowait),
    steal: seconds(steal),
  }
}

/** User and system time since the processes began, with all their threads, in seconds. */
export function cpuSecondsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + secondsOf(pid, UTIME_FIELD), 0)
}

/** The same of children that have ended and were waited for: commands that one process ran. */
export function cpuSecondsOfEndedChildren(pid = process.pid): number {
  return secondsOf(pid, CUTIME_FIELD)
}

/** @param field of the user time; the system time follows it */
function secondsOf(pid: number, field: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[field]) + Number(fields[field + 1])) / TICKS_PER_SECOND
}

/** Averages over a measured time, in cores. */
export interface ProcessorUse {
  /** Used by anything but the measured processes: other programs, the kernel's own threads, the measuring program. */
  othersCores: number
  idleCores: number
  stealCores: number
}

/** A look at the machine and at the measured processes at one moment. */
export interface ProcessorReading {
  times: ProcessorTimes
  ownSeconds: number
}

export function readProcessors(pids: readonly number[]): ProcessorReading {
  return { times: processorTimes(), ownSeconds: cpuSecondsOf(pids) }
}

/** The measured processes count in different ticks than the machine: a little below 0 is 0. */
export function processorUse(
  before: ProcessorReading,
  after: ProcessorReading,
  seconds: number,
): ProcessorUse {
  const difference = (part: keyof ProcessorTimes) => after.times[part] - before.times[part]
  const own = after.ownSeconds - before.ownSeconds
  return {
    othersCores: Math.max(0, difference('busy') - own) / seconds,
    idleCores: difference('idle') / seconds,
    stealCores: difference('steal') / seconds,
  }
}
