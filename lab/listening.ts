import type { LabHost } from './network.ts'
import { type LabProcesses, waitFor } from './processes.ts'

const PATIENCE_MS = 20_000
const COMMAND_PATIENCE_MS = 5_000
/** TCP_LISTEN in the column `st` of /proc/net/tcp (proc(5)). */
const LISTENING = ' 0A '

/**
 * Waits until something listens on each of the ports. It looks at the host's socket table: asking the servers
 * themselves would fill their logs.
 * @throws LabPartError
 */
export async function waitUntilListening(options: {
  host: LabHost
  processes: LabProcesses
  ports: number[]
}): Promise<void> {
  const { host, processes, ports } = options
  const wanted = ports.map((port) => `:${port.toString(16).toUpperCase().padStart(4, '0')} `)
  const argv = host.command(['cat', '/proc/net/tcp', '/proc/net/tcp6'])
  await waitFor(`${host.name} on port ${ports.join(' and ')}`, PATIENCE_MS, async () => {
    const table = await processes.run({ argv, timeoutMs: COMMAND_PATIENCE_MS })
    const listening = table.split('\n').filter((line) => line.includes(LISTENING))
    return wanted.every((port) => listening.some((line) => line.includes(port))) || undefined
  })
}
