import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabRequirementError } from '../errors.ts'

/**
 * Caps a process at a share of a core by a control group of its own, as container runtimes do (`docker run --cpus`): the kernel
 * stops it for the rest of each period in which it has used up its quota. Needs root.
 */
export interface ProcessorCap {
  readonly version: 1 | 2
  /** How long its threads have waited because of the cap, in seconds, since it was set. */
  throttledSeconds(): number
  /** Call it when the process has ended. */
  remove(): void
}

const ROOT = '/sys/fs/cgroup'
/** The kernel's default, and Docker's. */
const PERIOD_US = 100_000

/** @param name of the group, unique on this machine @throws LabRequirementError */
export function capProcessor(name: string, pid: number, cores: number): ProcessorCap {
  const quotaUs = Math.round(cores * PERIOD_US)
  try {
    return existsSync(join(ROOT, 'cgroup.controllers'))
      ? capByVersion2(name, pid, quotaUs)
      : capByVersion1(name, pid, quotaUs)
  } catch (cause) {
    throw new LabRequirementError(`this needs root and the cpu controller of control groups`, { cause })
  }
}

function capByVersion2(name: string, pid: number, quotaUs: number): ProcessorCap {
  writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+cpu')
  const group = join(ROOT, name)
  mkdirSync(group)
  writeFileSync(join(group, 'cpu.max'), `${quotaUs} ${PERIOD_US}`)
  writeFileSync(join(group, 'cgroup.procs'), `${pid}`)
  return {
    version: 2,
    throttledSeconds: () => statOf(group, 'throttled_usec') / 1e6,
    remove: () => rmdirSync(group),
  }
}

function capByVersion1(name: string, pid: number, quotaUs: number): ProcessorCap {
  const group = join(ROOT, 'cpu', name)
  mkdirSync(group)
  writeFileSync(join(group, 'cpu.cfs_period_us'), `${PERIOD_US}`)
  writeFileSync(join(group, 'cpu.cfs_quota_us'), `${quotaUs}`)
  writeFileSync(join(group, 'cgroup.procs'), `${pid}`)
  return {
    version: 1,
    throttledSeconds: () => statOf(group, 'throttled_time') / 1e9,
    remove: () => rmdirSync(group),
  }
}

function statOf(group: string, name: string): number {
  const text = readFileSync(join(group, 'cpu.stat'), 'latin1')
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}
