import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { ListenAddress } from '../core/config.ts'
import { ListenFailedError } from '../core/errors.ts'
import { isLoopbackAddress } from '../core/network.ts'
import { ListenNotLoopbackError } from './errors.ts'

/**
 * The address to listen on. Resolves a name once, so that the listener uses the checked address.
 * @param purpose the config key, for messages
 * @throws ListenNotLoopbackError unless every address of the name is a loopback address
 */
export async function loopbackAddress(host: string, purpose: string): Promise<string> {
  const hint = `Use 127.0.0.1 or ::1 for ${purpose}: Shoal treats everyone who can reach it as a user of this machine.`
  const found = await lookup(host, { all: true }).catch((cause: unknown) => {
    throw new ListenNotLoopbackError(`${purpose} cannot be resolved: ${host}`, { cause, hint })
  })
  const foreign = found.find(({ address }) => !isLoopbackAddress(address))
  if (found.length === 0 || foreign !== undefined) {
    throw new ListenNotLoopbackError(
      `${purpose} is not a loopback address: ${host}${foreign && foreign.address !== host ? ` (${foreign.address})` : ''}`,
      { hint },
    )
  }
  return found[0]!.address
}

/**
 * Starts a server on loopback and nowhere else. Returns its address; port 0 takes a free one.
 * @param purpose the config key, for messages
 * @throws ListenNotLoopbackError, ListenFailedError
 */
export async function listenOnLoopback(
  server: Server,
  listen: ListenAddress,
  purpose: string,
): Promise<ListenAddress> {
  const host = await loopbackAddress(listen.host, purpose)
  server.listen({ host, port: listen.port })
  await once(server, 'listening').catch((cause: Error) => {
    throw new ListenFailedError(purpose, { host, port: listen.port }, cause)
  })
  const { address, port } = server.address() as AddressInfo
  return { host: address, port }
}

/** Every open connection of a server, including those that HTTP no longer handles (CONNECT). */
export class Connections {
  readonly #open = new Set<Socket>()

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket)
      socket.once('close', () => this.#open.delete(socket))
    })
  }

  /** Stops listening and ends every connection. */
  async closeWith(server: Server): Promise<void> {
    const closed = server.listening ? once(server, 'close') : Promise.resolve()
    server.close()
    for (const socket of this.#open) socket.destroy()
    await closed
  }
}
