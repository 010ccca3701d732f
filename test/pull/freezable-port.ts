import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A port before another. While it is frozen, connections open and nothing passes: as with a process that was stopped. */
export interface FreezablePort {
  port: number
  /** Connections that were opened while it was frozen. */
  openedFrozen: number
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
      one.on('data', (bytes) => other.write(bytes))
      one.on('end', () => other.end())
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
