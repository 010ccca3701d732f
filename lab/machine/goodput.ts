import { fileURLToPath } from 'node:url'
import { waitUntilListening } from './listening.ts'
import type { LabHost } from './network.ts'
import type { LabRun } from './run.ts'

const PROGRAM = fileURLToPath(new URL('./flow-main.ts', import.meta.url))
const PORT = 9900
const PATIENCE_MS = 60_000

export interface FlowOptions {
  run: LabRun
  from: LabHost
  to: LabHost
  /** Bytes to measure; more of them reduce the effect of a scheduler's pauses. */
  bytes: number
}

/**
 * Payload bytes per second of one plain TCP flow from one host to another, without headers.
 * @throws LabCommandError when the link is silent
 */
export async function measureGoodput({ run, from, to, bytes }: FlowOptions): Promise<number> {
  const { processes } = run
  const argv = from.command([process.execPath, PROGRAM, 'serve', String(PORT)])
  const server = processes.start({ name: `${from.name}-flow`, argv })
  try {
    await waitUntilListening({ part: server, host: from, processes, ports: [PORT] })
    const measure = [process.execPath, PROGRAM, 'measure', from.address, String(PORT), String(bytes)]
    return Number(await processes.run({ argv: to.command(measure), timeoutMs: PATIENCE_MS }))
  } finally {
    await server.stop()
  }
}
