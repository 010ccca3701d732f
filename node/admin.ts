import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import type { ListenAddress } from '../core/config.ts'
import type { Defects } from '../core/defects.ts'
import type { ShoalError } from '../core/errors.ts'
import type { Metrics } from '../core/metrics.ts'
import { isLoopbackAuthority, nameIn } from '../core/network.ts'
import { createServer } from '../core/node-http.ts'
import { statusOf } from '../proxy/error-response.ts'
import { AdminHostError, AdminMethodError, AdminPathError, ConnectionsTooManyError } from '../proxy/errors.ts'
import { malformedRefusal } from '../proxy/intercept/intercept-server.ts'
import { Connections, listenOnLoopback } from '../proxy/loopback-listener.ts'
import type { SocketOwners } from '../proxy/socket-owner.ts'
import { UserShares } from '../proxy/user-shares.ts'
import { type Readiness, readinessOf } from './readiness.ts'

/** Bounds of the admin listener: a scraper, a watcher and a person. */
const CONNECTIONS_MAX = 64
const HEADER_BYTES_MAX = 16 * 1024
const REQUEST_PATIENCE_MS = 10_000
/** Connections of one local user other than root to the admin listener. */
export const ADMIN_CONNECTIONS_PER_USER_MAX = 16
/** Connections to the admin listener that are reserved for root. */
export const ADMIN_CONNECTIONS_OF_ROOT_MIN = 16
/** Additional connections to the admin listener that may ask for `/healthz` or `/readyz` and nothing else. */
export const HEALTH_CONNECTIONS_MAX = 16
/** How long such a connection may take to send its request, and to read the answer. */
const HEALTH_PATIENCE_MS = 1000
const HEALTH_PATH = '/healthz'
const READY_PATH = '/readyz'

export interface AdminOptions {
  listen: ListenAddress
  conditions: Pick<Conditions, 'health' | 'shown'>
  /** Whether the proxy accepts connections. */
  isServing: () => boolean
  metrics: Metrics
  owners: SocketOwners
  log: Logger
  defects: Defects
}

interface Page {
  status?: number
  type: string
  body: string
}

/**
 * Starts the listener for health and metrics: read only, without secrets or names of images, for this machine only.
 * @throws ListenNotLoopbackError, ListenFailedError
 */
export async function startAdmin(options: AdminOptions) {
  const server = adminServer(options)
  const connections = new Connections(server)
  const address = await listenOnLoopback(server, options.listen, 'adminListen')
  return { address, close: () => connections.closeWith(server) }
}

function adminServer(parts: AdminOptions): Server {
  const reserve = new HealthReserve()
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      requestTimeout: REQUEST_PATIENCE_MS,
      headersTimeout: REQUEST_PATIENCE_MS,
    },
    (request, response) => {
      const refuse = (error: ShoalError) => send(response, errorPage(error))
      const isHealthOnly = reserve.has(request.socket)
      const answer = async () => send(response, await answerAdmin(parts, request, isHealthOnly))
      const boundary = parts.defects.boundary('admin_request', refuse)
      boundary.run(answer)
    },
  )
  const onExcess = (socket: Socket, uid: number | undefined) => reserve.take(socket, uid)
  const bounds = {
    connectionsMax: CONNECTIONS_MAX,
    perUserMax: ADMIN_CONNECTIONS_PER_USER_MAX,
    rootReserve: ADMIN_CONNECTIONS_OF_ROOT_MIN,
  }
  new UserShares({ ...parts, bounds, onExcess }).watch(server)
  server.on('clientError', malformedRefusal(parts.log))
  return server
}

/**
 * Connections beyond their user's share. They may ask only whether the node is healthy, which must always be answered. If
 * there are too many, the oldest of the user with the most goes, so that a user displaces only their own.
 */
class HealthReserve {
  readonly #taken = new Map<Socket, number | undefined>()

  has(socket: Socket): boolean {
    return this.#taken.has(socket)
  }

  take(socket: Socket, uid: number | undefined): void {
    this.#taken.set(socket, uid)
    setTimeout(() => socket.destroy(), HEALTH_PATIENCE_MS).unref()
    socket.once('close', () => this.#taken.delete(socket))
    if (this.#taken.size <= HEALTH_CONNECTIONS_MAX) return
    const driven = this.#oldestOfGreediest()
    this.#taken.delete(driven)
    driven.destroy()
  }

  #oldestOfGreediest(): Socket {
    const byUser = Map.groupBy(this.#taken, ([, uid]) => uid)
    const [most = []] = [...byUser.values()].sort((one, other) => other.length - one.length)
    return most[0]![0]
  }
}

async function answerAdmin(
  parts: AdminOptions,
  request: IncomingMessage,
  isInReserve: boolean,
): Promise<Page> {
  refuseForeignName(request.headers.host ?? '', parts.listen.host)
  const path = request.url?.split('?')[0] ?? ''
  if (isInReserve && path !== HEALTH_PATH && path !== READY_PATH) {
    throw new ConnectionsTooManyError('this user has too many connections to this page')
  }
  const render = pages(parts).get(path)
  if (render === undefined) throw new AdminPathError('there is no such page')
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new AdminMethodError('this page is read only')
  return render()
}

function pages({ conditions, isServing, metrics }: AdminOptions): Map<string, () => Page | Promise<Page>> {
  return new Map<string, () => Page | Promise<Page>>([
    // Always 200: whoever restarts unhealthy programs would help nobody by restarting this one.
    [HEALTH_PATH, () => jsonPage(conditions.health())],
    [READY_PATH, () => readyPage(readinessOf(conditions, isServing()))],
    ['/metrics', async () => ({ type: metrics.contentType, body: await metrics.text() })],
  ])
}

function readyPage(readiness: Readiness): Page {
  return { ...jsonPage(readiness), status: readiness.status === 'ready' ? 200 : 503 }
}

/**
 * A page in a browser may resolve its own name to 127.0.0.1 and then read these pages (DNS rebinding). Its requests still
 * have its name in `Host`.
 */
function refuseForeignName(host: string, configured: string): void {
  if (!isLoopbackAuthority(host) && nameIn(host) !== configured.toLowerCase()) {
    throw new AdminHostError('ask for this page by localhost or a loopback address')
  }
}

function jsonPage(value: unknown): Page {
  return { type: 'application/json', body: JSON.stringify(value) }
}

function errorPage(error: ShoalError): Page {
  const { code, message } = error
  return { ...jsonPage({ error: { code, message } }), status: statusOf(error) }
}

function send(response: ServerResponse, { status = 200, type, body }: Page): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}
