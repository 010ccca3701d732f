import { connect } from 'node:net'
import type { LabHost } from './network.ts'
import { type LabProcess, type LabProcesses, waitForPart } from './processes.ts'

const COMMAND_PATIENCE_MS = 5_000
/** TCP_LISTEN in the column `st` of /proc/net/tcp (proc(5)). */
const LISTENING = ' 0A '

export interface ListenerOptions {
  part: LabProcess
  host: LabHost
  processes: LabProcesses
  ports: number[]
}

/**
 * Waits until the part listens on each of its ports. It reads the host's socket table: a request to the server would
 * fill its log.
 * @throws LabPartError, LabPartEndedError
 */
export async function waitUntilListening({ part, host, processes, ports }: ListenerOptions): Promise<void> {
  const wanted = ports.map((port) => `:${port.toString(16).toUpperCase().padStart(4, '0')} `)
  const argv = host.command(['cat', '/proc/net/tcp', '/proc/net/tcp6'])
  await waitForPart(part, async () => {
    const table = await processes.run({ argv, timeoutMs: COMMAND_PATIENCE_MS })
    const listening = table.split('\n').filter((line) => line.includes(LISTENING))
    return wanted.every((port) => listening.some((line) => line.includes(port))) || undefined
  })
}

/** Connects and hangs up, where no socket table can be read. @returns undefined when nobody listens */
export function isAnswering(host: string, port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (answer: true | undefined) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true)).once('error', () => end(undefined))
  })
}
