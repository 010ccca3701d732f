import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { claimLabDir, labDir, removeLab, removeStaleLabs } from './leftovers.ts'
import { LabNetwork } from './network.ts'
import { LabProcesses } from './processes.ts'

/**
 * The frame of one lab: its folder, processes and network. `close` removes everything that the lab made, whether it
 * ended well, failed half-way or was interrupted.
 */
export interface LabRun {
  readonly id: string
  readonly dir: string
  readonly processes: LabProcesses
  readonly network: LabNetwork
  /** Stops all processes, then removes namespaces, control groups and the folder. May be called again. */
  close(): Promise<void>
  /** The same at once, with SIGKILL, before it returns. */
  closeNow(): void
}

export async function openRun(): Promise<LabRun> {
  removeStaleLabs()
  const id = randomBytes(4).toString('hex')
  const dir = labDir(id)
  const logDir = join(dir, 'log')
  // Daemons that drop root's rights must reach their own folders in it.
  mkdirSync(dir, { mode: 0o711 })
  claimLabDir(id)
  mkdirSync(logDir, { mode: 0o700 })
  const processes = new LabProcesses(logDir)
  const network = new LabNetwork({ runId: id, dir, processes })
  const run = makeRun({ id, dir, processes, network })
  try {
    await network.open()
    return run
  } catch (error) {
    await run.close()
    throw error
  }
}

function makeRun(parts: Pick<LabRun, 'id' | 'dir' | 'processes' | 'network'>): LabRun {
  let closing: Promise<void> | undefined
  const closeNow = () => {
    parts.processes.killAll()
    removeLab(parts.id)
  }
  const atExit = () => closeNow()
  process.once('exit', atExit)
  const close = async () => {
    await parts.processes.close()
    removeLab(parts.id)
    process.off('exit', atExit)
  }
  return { ...parts, closeNow, close: () => (closing ??= close()) }
}

/** Exit codes after a signal, as shells count them: 128 and the signal's number. */
export const EXIT_CODES_OF_SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** npm passes on a Ctrl-C that the process has received already: only a later one is a second from the user. */
const SAME_SIGNAL_MS = 700

/**
 * From now on a signal closes the lab and ends this process; a second one does both at once. So does an uncaught
 * error.
 */
export function closeOnSignals(run: Pick<LabRun, 'close'>, say: (line: string) => void): void {
  let closingSinceMs: number | undefined
  for (const [signal, exitCode] of Object.entries(EXIT_CODES_OF_SIGNALS)) {
    process.on(signal, () => {
      const sinceMs = performance.now() - (closingSinceMs ?? Number.POSITIVE_INFINITY)
      if (sinceMs > SAME_SIGNAL_MS) process.exit(exitCode) // The exit handler removes everything at once.
      if (closingSinceMs !== undefined) return
      closingSinceMs = performance.now()
      say('stopping; once more to stop at once')
      void run.close().then(() => process.exit(exitCode))
    })
  }
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error: Error) => {
      say(`unexpected error: ${error.stack ?? error}`)
      process.exit(1)
    })
  }
}

/**
 * Builds something in a run of its own, which is closed again if that fails.
 * @param onRun called as soon as there is something to close
 */
export async function buildRun<Built>(
  build: (run: LabRun) => Promise<Built>,
  onRun?: (run: LabRun) => void,
): Promise<Built> {
  const run = await openRun()
  onRun?.(run)
  try {
    return await build(run)
  } catch (error) {
    await run.close()
    throw error
  }
}
