import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { World } from './test-tracker.ts'

const RUN_TRACKER = fileURLToPath(new URL('run-tracker.ts', import.meta.url))

/** Another tracker, as a process, on the world's folder; the world's own is stopped, and its callers find the new one. */
export async function spawnTracker(world: World, cluster?: object): Promise<ChildProcess> {
  await world.tracker.close()
  const { listen, adminListen, ...rest } = world.config
  const text = ({ host, port }: typeof listen) => `${host}:${port}`
  const config = { ...rest, listen: text(listen), adminListen: text(adminListen) }
  const args = [JSON.stringify(config), ...(cluster === undefined ? [] : [JSON.stringify(cluster)])]
  const child = spawn(process.execPath, [RUN_TRACKER, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  const { address, adminAddress } = JSON.parse(String(line))
  world.tracker = { ...world.tracker, address, adminAddress, close: async () => {} }
  return child
}

export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
