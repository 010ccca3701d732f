import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** TCP connections that never say anything. */
export interface HalfOpen {
  /** Not closed by the other side so far. */
  readonly count: number
  close(): void
}

/** What waits to be accepted at one time is the kernel's to hold; so many are accepted before the next. */
const BATCH = 250
const BATCH_PAUSE_MS = 20

export async function openHalf(address: { host: string; port: number }, total: number): Promise<HalfOpen> {
  const sockets: Socket[] = []
  while (sockets.length < total) {
    const batch = Array.from({ length: BATCH }, () => connect(address.port, address.host))
    for (const socket of batch) socket.resume().on('error', () => undefined)
    await Promise.all(batch.map((socket) => once(socket, 'connect')))
    await new Promise((resolve) => setTimeout(resolve, BATCH_PAUSE_MS))
    sockets.push(...batch)
  }
  return {
    get count() {
      return sockets.filter(({ closed }) => !closed).length
    },
    close() {
      for (const socket of sockets) socket.destroy()
    },
  }
}
