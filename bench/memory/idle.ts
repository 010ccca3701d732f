import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { callGuard } from '../../guard/control.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import type { ShoalServices } from '../measure/shoal-questions.ts'
import { untilReady, writeNodeConfig } from './node-process.ts'

/** What a machine pays for a node that has nothing to do: guard, node and relay, as the package runs them. */

export interface IdleShare {
  /** Proportional set size (proc(5)), in MiB: pages that several processes share count once in the sum. */
  pssMib: number
  /** Of it, what no file is behind: heaps, stacks, compiled code. */
  anonymousMib: number
}

export interface IdleReport {
  minutes: number
  /** By process. One that does not run is missing. */
  shares: Record<string, IdleShare>
  pssMib: number
  /** Of one core, over the last half of the time. */
  cpuPercent: number
}

/** Kernel clock ticks per second (`getconf CLK_TCK`), the same on all Linux that Node runs on. */
const TICKS_PER_SECOND = 100
const KIB_PER_MIB = 1024

/** @param program `bin/shoal` of an unpacked package, or `bin/shoal.js` of a checkout */
export async function measureIdle(
  { folder, services }: { folder: string; services: ShoalServices },
  { program, minutes, env }: { program: string; minutes: number; env: NodeJS.ProcessEnv },
): Promise<IdleReport> {
  mkdirSync(folder, { recursive: true })
  const [proxyPort, adminPort] = [await freePort(), await freePort()]
  const config = writeNodeConfig(folder, services, { proxyPort, adminPort })
  const run = async (idleMs: number) => {
    const control = join(folder, 'guard.sock')
    const own = ['--control', control, '--proxy-listen', `127.0.0.1:${proxyPort}`]
    const words = ['guard', 'run', ...own, '--', '--config-file', config]
    const [file, ...before] = program.endsWith('.js') ? [process.execPath, program] : [program]
    const guard = spawn(file!, [...before, ...words], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...env, NODE_COMPILE_CACHE: join(folder, 'compiled') },
    })
    try {
      await untilReady(guard, `http://127.0.0.1:${adminPort}`)
      const pids = async () => {
        const { nodePid, relayPid } = await callGuard(control, 'status')
        return Object.entries({ guard: guard.pid, node: nodePid, relay: relayPid }).filter(
          (entry): entry is [string, number] => typeof entry[1] === 'number',
        )
      }
      await delay(idleMs / 2)
      const before = cpuSeconds(await pids())
      await delay(idleMs / 2)
      const found = await pids()
      const cpuPercent = ((cpuSeconds(found) - before) / (idleMs / 2000)) * 100
      const shares = Object.fromEntries(found.map(([name, pid]) => [name, shareOf(pid)]))
      const pssMib = Object.values(shares).reduce((sum, share) => sum + share.pssMib, 0)
      return { minutes, shares, pssMib, cpuPercent }
    } finally {
      guard.kill('SIGTERM')
      await once(guard, 'exit')
    }
  }
  // Only the first start after an installation compiles.
  await run(COMPILE_CACHE_FILLED_MS)
  return run(minutes * 60_000)
}

/** The cache is written five seconds after the start (bin/lean.js). */
const COMPILE_CACHE_FILLED_MS = 8_000

function shareOf(pid: number): IdleShare {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
  const mib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)![1]) / KIB_PER_MIB
  return { pssMib: mib('Pss'), anonymousMib: mib('Pss_Anon') }
}

function cpuSeconds(processes: [string, number][]): number {
  const ticks = processes.map(([, pid]) => {
    // The name before may hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
    return Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_SECOND
}
