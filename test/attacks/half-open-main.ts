import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/**
 * Run as a program by half-open.ts: `half-open-main.ts <host> <port> <total>`. Tells its parent how many connections are
 * open, once all are made and whenever one closes.
 */

/** What waits to be accepted at one time is the kernel's to hold; so many are accepted before the next. */
const BATCH = 250
const BATCH_PAUSE_MS = 20

const [host = '', port, total] = process.argv.slice(2)
const sockets: Socket[] = []
while (sockets.length < Number(total)) {
  const batch = Array.from({ length: BATCH }, () => connect(Number(port), host))
  for (const socket of batch) socket.resume().on('error', () => undefined)
  await Promise.all(batch.map((socket) => once(socket, 'connect')))
  await new Promise((resolve) => setTimeout(resolve, BATCH_PAUSE_MS))
  sockets.push(...batch)
}
const tell = () => process.send?.(sockets.filter(({ closed }) => !closed).length)
for (const socket of sockets) socket.once('close', tell)
process.once('disconnect', () => process.exit())
tell()
