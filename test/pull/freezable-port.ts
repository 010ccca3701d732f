import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/**
 * A port before another. While it is frozen, connections open and nothing passes: as with a process that was stopped. With a
 * delay everything arrives that much later, in either direction.
 */
export interface FreezablePort {
  port: number
  /** Connections that were opened while it was frozen. */
  openedFrozen: number
  delayMs: number
  freeze(): void
  thaw(): void
  close(): Promise<void>
}

export async function freezablePort(targetPort: number): Promise<FreezablePort> {
  const sockets = new Set<Socket>()
  let isFrozen = false
  const server = createServer({ pauseOnConnect: true }, (near) => {
    const far = connect(targetPort, '127.0.0.1')
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => undefined)
      let passing = Promise.resolve()
      const pass = (act: () => void) => {
        const { delayMs } = port
        passing = passing.then(async () => {
          if (delayMs > 0) await delay(delayMs)
          act()
        })
      }
      one.on('data', (bytes) => pass(() => other.write(bytes)))
      one.on('end', () => pass(() => other.end()))
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      if (isFrozen) one.pause()
      else one.resume()
    }
    if (isFrozen) port.openedFrozen += 1
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port: FreezablePort = {
    port: (server.address() as AddressInfo).port,
    openedFrozen: 0,
    delayMs: 0,
    freeze() {
      isFrozen = true
      for (const socket of sockets) socket.pause()
    },
    thaw() {
      isFrozen = false
      for (const socket of sockets) socket.resume()
    },
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
  return port
}
