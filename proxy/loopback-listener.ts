import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { ListenAddress } from '../core/config.ts'
import { ListenFailedError } from '../core/errors.ts'
import { isLoopbackAddress } from '../core/network.ts'
import { isSettledWithin } from '../core/patience.ts'
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
 * @param descriptor a socket that somebody else owns and bound, instead of an own one
 * @throws ListenNotLoopbackError, ListenFailedError
 */
export async function listenOnLoopback(
  server: Server,
  listen: ListenAddress,
  purpose: string,
  descriptor?: number,
): Promise<ListenAddress> {
  const host = await loopbackAddress(listen.host, purpose)
  server.listen(descriptor === undefined ? { host, port: listen.port } : { fd: descriptor })
  await once(server, 'listening').catch((cause: Error) => {
    throw new ListenFailedError(purpose, { host, port: listen.port }, cause)
  })
  const { address, port } = server.address() as AddressInfo
  if (!isLoopbackAddress(address)) {
    server.close()
    throw new ListenNotLoopbackError(`${purpose}: the socket that was handed over is not on loopback`)
  }
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

  /**
   * Stops listening, and ends every connection once it has ended by itself or the time is over.
   * @param patienceMs default: at once
   */
  async closeWith(server: Server, patienceMs = 0): Promise<void> {
    const closed = server.listening ? once(server, 'close') : Promise.resolve()
    server.close()
    if (patienceMs > 0) await isSettledWithin(this.#allEnded(), patienceMs)
    for (const socket of this.#open) socket.destroy()
    await closed
  }

  async #allEnded(): Promise<void> {
    while (this.#open.size > 0) await once(this.#open.values().next().value!, 'close')
  }
}
