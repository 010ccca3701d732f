import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { ShoalError } from '../core/errors.ts'
import { isLoopbackAddress } from '../core/network.ts'
import { createServer } from '../core/node-http.ts'
import { refuseSocket, respondWithError } from '../proxy/error-response.ts'
import { ListenNotLoopbackError, ProxyRequestError } from '../proxy/errors.ts'
import { HEADER_BYTES_MAX, HEADERS_PATIENCE_MS, PROXY_SHARES } from '../proxy/listener-bounds.ts'
import { KernelSocketOwners } from '../proxy/socket-owner.ts'
import { parseAuthority, type TargetPolicy } from '../proxy/upstream/target.ts'
import { connectTarget, joinSockets } from '../proxy/upstream/tunnel.ts'
import { UserShares } from '../proxy/user-shares.ts'

/**
 * Answers on the node's sockets while the node cannot: tunnels every connection, so that runtimes pull directly, by the
 * node's own rules for targets. It has no state and no secrets, and decrypts nothing.
 */

/** RFC 9110 §9.3.6. */
const CONNECTED = 'HTTP/1.1 200 Connection established\r\n\r\n'
/** The mirror's caller goes on to the registry at once. */
const MIRROR_BODY = '{"errors":[{"code":"UNAVAILABLE","message":"the node is not running"}]}'

export interface RelayOptions {
  policy: TargetPolicy
  /** Descriptors of listening sockets. */
  proxy: number | undefined
  mirror: number | undefined
  warn: (reason: string) => void
}

export class Relay {
  readonly #options: RelayOptions
  readonly #servers: Server[] = []
  readonly #tunnels = new Set<Socket>()

  constructor(options: RelayOptions) {
    this.#options = options
  }

  /** @throws ListenNotLoopbackError for a socket that other machines reach */
  async listen(): Promise<void> {
    const { proxy, mirror, policy } = this.#options
    if (proxy !== undefined) policy.denyOwnPort(await this.#listenOn(this.#proxyServer(), proxy))
    if (mirror !== undefined) await this.#listenOn(mirrorServer(), mirror)
  }

  /** Accepts no more. Resolves once the last tunnel has ended. */
  async drain(): Promise<void> {
    for (const server of this.#servers) {
      server.close()
      server.closeIdleConnections()
    }
    while (this.#tunnels.size > 0) await once(this.#tunnels.values().next().value!, 'close')
  }

  async #listenOn(server: Server, descriptor: number): Promise<number> {
    server.listen({ fd: descriptor })
    await once(server, 'listening')
    this.#servers.push(server)
    const address = server.address()
    if (typeof address === 'string' || address === null) return 0
    if (isLoopbackAddress((address as AddressInfo).address)) return address.port
    server.close()
    throw new ListenNotLoopbackError(`a socket of the relay is not on loopback: ${address.address}`)
  }

  #proxyServer(): Server {
    const server = createServer({
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_PATIENCE_MS,
      requestTimeout: 0,
    })
    const log = { warn: (_facts: object, text: string) => this.#options.warn(text) }
    new UserShares({ bounds: PROXY_SHARES, owners: new KernelSocketOwners(), log }).watch(server)
    server.on('connect', (request, socket, head) => {
      void this.#tunnel(request, socket as Socket, head)
    })
    server.on('request', (request, response) => void this.#forward(request, response))
    server.on('clientError', (_error, socket) =>
      refuseSocket(socket as Socket, new ProxyRequestError('malformed request')),
    )
    return server
  }

  async #tunnel(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    socket.setTimeout(0)
    socket.on('error', () => socket.destroy())
    this.#tunnels.add(socket)
    socket.once('close', () => this.#tunnels.delete(socket))
    try {
      const target = await this.#options.policy.check(parseAuthority(request.url ?? ''))
      const upstream = await connectTarget(target)
      if (socket.destroyed) upstream.destroy()
      socket.write(CONNECTED)
      joinSockets(socket, upstream, head)
    } catch (error) {
      this.#options.warn(`CONNECT refused: ${(error as Error).message}`)
      if (error instanceof ShoalError) refuseSocket(socket, error)
      else socket.destroy()
    }
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Rare, and its HTTP client is large.
    const { forwardPlain } = await import('../proxy/upstream/plain-forward.ts')
    await forwardPlain(this.#options.policy, request, response).catch((error: unknown) => {
      if (error instanceof ShoalError) respondWithError(response, error)
      else response.destroy()
    })
  }
}

function mirrorServer(): Server {
  const server = createServer({ headersTimeout: HEADERS_PATIENCE_MS }, (_request, response) => {
    response.writeHead(503, { 'content-type': 'application/json', connection: 'close' }).end(MIRROR_BODY)
  })
  server.maxConnections = PROXY_SHARES.connectionsMax
  return server
}
