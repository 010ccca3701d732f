import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { LabPartError } from '../errors.ts'
import type { LabProcess, LabProcesses } from '../machine/processes.ts'

/** A whole machine: Debian 12 with a running systemd, in namespaces of its own. */
export interface Guest {
  readonly root: string
  /** As root. @returns standard output; throws when the command fails */
  run(command: string, patienceMs?: number): Promise<string>
  /** Asks again and again until the command succeeds. @returns its standard output */
  until(command: string): Promise<string>
  /** Resolves when it is off. */
  powerOff(): Promise<void>
}

interface GuestOptions {
  name: string
  root: string
  processes: LabProcesses
  /** Of its network; undefined: one without a way out. */
  networkNamespace?: string
}

const BOOT_MS_MAX = 120_000
const COMMAND_MS_MAX = 120_000
const LOOK_MS = 300
/** This kernel's control groups are of the first version, and its filters are not nested. Docker sets up its network. */
const ENVIRONMENT = {
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '0',
  SYSTEMD_SECCOMP: '0',
  SYSTEMD_NSPAWN_API_VFS_WRITABLE: 'network',
}
const INSIDE = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', HOME: '/root' }

export async function boot({ name, root, processes, networkNamespace }: GuestOptions): Promise<Guest> {
  const network =
    networkNamespace === undefined ? '--private-network' : `--network-namespace-path=${networkNamespace}`
  const flags = ['--boot', '--register=no', '--keep-unit', '--capability=all', '--console=pipe', network]
  const argv = ['systemd-nspawn', `--machine=${name}`, '-D', root, ...flags]
  const part = processes.start({ name: `guest-${name}`, argv, env: ENVIRONMENT })
  const run = (command: string, timeoutMs = COMMAND_MS_MAX) =>
    processes.run({
      argv: ['nsenter', '--target', initOf(part), '--all', 'sh', '-c', command],
      env: { ...INSIDE, DEBIAN_FRONTEND: 'noninteractive' },
      timeoutMs,
    })
  const until = async (command: string) => {
    for (const endMs = performance.now() + BOOT_MS_MAX; ; await wait(LOOK_MS)) {
      try {
        return await run(command)
      } catch (error) {
        if (performance.now() > endMs || !part.isRunning()) throw error
      }
    }
  }
  await until('systemctl is-system-running | grep -E "running|degraded"')
  return {
    ...{ root, run, until },
    async powerOff() {
      if (!part.isRunning()) return
      // It may be gone before the command has ended.
      await run('systemctl poweroff').catch(() => undefined)
      await Promise.race([part.ended, wait(BOOT_MS_MAX)])
      await part.stop()
    },
  }
}

/** nspawn's only child is the guest's first process. */
function initOf({ name, pid }: LabProcess): string {
  const children = readIfRunning(`/proc/${pid}/task/${pid}/children`).trim().split(' ')
  if (children[0]) return children[0]
  throw new LabPartError(`${name} is not running`)
}

function readIfRunning(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
