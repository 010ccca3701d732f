import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { labNamespaces } from './network.ts'
import { LAB_PATH } from './requirements.ts'

/**
 * The traces of a running lab on the machine, by its run id: a folder, network namespaces and control groups. The
 * folder names the process that owns it, so that the next lab recognises what a killed one could not remove.
 */

/** Always the same, and on a disk: `TMPDIR` may differ between runs, and /tmp may be memory. */
const LABS_DIR = '/var/tmp'
const DIR_PREFIX = 'shoal-lab-'
const OWNER_FILE = 'owner.json'
const CGROUPS_DIR = '/sys/fs/cgroup'
const CGROUP_PREFIX = 'shoal-lab-'

export function labDir(runId: string): string {
  return join(LABS_DIR, `${DIR_PREFIX}${runId}`)
}

/** The control group of this lab's containers. */
export function labCgroup(runId: string): string {
  return `/${CGROUP_PREFIX}${runId}`
}

/** Marks a lab's folder as belonging to this process. */
export function claimLabDir(runId: string): void {
  const owner = { pid: process.pid, startTicks: startTicksOf(process.pid) }
  writeFileSync(join(labDir(runId), OWNER_FILE), JSON.stringify(owner), { mode: 0o600 })
}

/**
 * Removes everything that a lab has on the machine. At once and without checks: its processes have stopped or must
 * not continue. Also the last act of a process that is about to end.
 */
export function removeLab(runId: string): void {
  for (const { namespace } of labNamespaces().filter((found) => found.runId === runId)) {
    killProcessesIn(namespace)
    ip(['netns', 'delete', namespace])
  }
  removeCgroups(runId)
  rmSync(labDir(runId), { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}

/** Removes the traces of labs that ended without cleaning up. @returns their run ids */
export function removeStaleLabs(): string[] {
  const found = new Set([...labNamespaces().map(({ runId }) => runId), ...labsWithDir()])
  const stale = [...found].filter((runId) => !hasLivingOwner(runId))
  for (const runId of stale) removeLab(runId)
  return stale
}

/** Run ids of the labs that process `pid` has opened, whether it still runs or not. */
export function labsOwnedBy(pid: number): string[] {
  return labsWithDir().filter((runId) => ownerOf(runId)?.pid === pid)
}

function labsWithDir(): string[] {
  const name = new RegExp(`^${DIR_PREFIX}([0-9a-f]{8})$`)
  return readdirSync(LABS_DIR).flatMap((entry) => name.exec(entry)?.[1] ?? [])
}

/** Describes the lab's traces that are still on the machine; [] when none is. */
export function remainsOf(runId: string): string[] {
  const namespaces = labNamespaces().filter((found) => found.runId === runId)
  return [
    ...namespaces.map(({ namespace }) => `network namespace ${namespace}`),
    ...(existsSync(labDir(runId)) ? [`folder ${labDir(runId)}`] : []),
    ...cgroupsOf(runId).map((path) => `control group ${path}`),
    ...processesOf(runId).map((pid) => `process ${pid}`),
  ]
}

/** Processes whose command line names the lab's folder or one of its namespaces. */
function processesOf(runId: string): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  return pids.filter((pid) => readProc(pid, 'cmdline').includes(runId)).map(Number)
}

/** '' when the process has ended. */
function readProc(pid: number | string, file: 'cmdline' | 'stat'): string {
  try {
    return readFileSync(join('/proc', String(pid), file), 'utf8')
  } catch {
    return ''
  }
}

interface Owner {
  pid: number
  startTicks: string
}

function ownerOf(runId: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(labDir(runId), OWNER_FILE), 'utf8'))
  } catch {
    return undefined
  }
}

function hasLivingOwner(runId: string): boolean {
  const owner = ownerOf(runId)
  return owner !== undefined && startTicksOf(owner.pid) === owner.startTicks
}

/**
 * Start time of a process (proc(5), /proc/pid/stat, field 22). Together with the pid, no later process repeats it.
 */
function startTicksOf(pid: number): string | undefined {
  const stat = readProc(pid, 'stat')
  const fieldsAfterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return stat === '' ? undefined : fieldsAfterName[22 - 3]
}

/** Containers' shims leave their parents' process groups, but cannot leave their namespace. */
function killProcessesIn(namespace: string): void {
  for (const line of ip(['netns', 'pids', namespace]).split('\n')) {
    const pid = Number(line)
    if (pid > 0) killIfThere(pid)
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended at this moment.
  }
}

function ip(argv: string[]): string {
  const { stdout } = spawnSync('ip', argv, { encoding: 'utf8', env: { PATH: LAB_PATH }, timeout: 10_000 })
  return stdout ?? ''
}

/** One folder per controller with control groups version 1, a single one with version 2. */
function cgroupsOf(runId: string): string[] {
  if (!existsSync(CGROUPS_DIR)) return []
  const roots = ['', ...readdirSync(CGROUPS_DIR)].map((name) => join(CGROUPS_DIR, name))
  return roots.map((root) => join(root, labCgroup(runId))).filter((path) => existsSync(path))
}

function removeCgroups(runId: string): void {
  for (const path of cgroupsOf(runId)) removeCgroupTree(path)
}

/**
 * The files in it belong to the kernel. Only the folders can be removed, innermost first, when no process is left.
 */
function removeCgroupTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroupTree(join(path, entry.name))
  }
  try {
    rmdirSync(path)
  } catch {
    // A process in it is still ending; the next lab removes it.
  }
}
