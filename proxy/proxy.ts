import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Client } from '../client/index.ts'
import type { ListenAddress } from '../core/config.ts'
import { type Boundary, Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import type { Metrics } from '../core/metrics.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { parseRegistryHost } from '../core/repository.ts'
import { Strangers } from '../core/strangers.ts'
import { answerConnect } from './connect.ts'
import { respondWithError } from './error-response.ts'
import { MisdirectedRequestError, ProxyRequestError } from './errors.ts'
import type { ProxyAuthority } from './intercept/authority.ts'
import { InterceptServer, malformedRefusal, SOCKET_IDLE_MS } from './intercept/intercept-server.ts'
import { Rejections } from './intercept/rejections.ts'
import { Connections, listenOnLoopback } from './loopback-listener.ts'
import { ManifestPlans } from './manifest-plans.ts'
import { proxyMetrics } from './metrics.ts'
import { answer } from './pull.ts'
import { KernelSocketOwners, type SocketOwners } from './socket-owner.ts'
import { forwardPlain } from './upstream/plain-forward.ts'
import { type PermittedTarget, TargetPolicy } from './upstream/target.ts'
import { UserShares } from './user-shares.ts'

/** Docker opens a handful per pull; the rest is for whatever else goes through tunnels. */
export const PROXY_CONNECTIONS_MAX = 1024
/** Of the proxy's connections, those of one local user other than root. */
export const PROXY_CONNECTIONS_PER_USER_MAX = 256
/** Of them, those that are left to root: dockerd and containerd run as root. */
export const PROXY_CONNECTIONS_OF_ROOT_MIN = 256
/** Of CONNECT and of plain requests; what is intercepted has larger bounds. */
const HEADER_BYTES_MAX = 16 * 1024
/** A local client sends its CONNECT at once; this bounds one that does not. */
const HEADERS_PATIENCE_MS = 30_000

export interface ProxyOptions {
  listen: ListenAddress
  client: Client
  registries: RegistryClients
  /** Signs what pulling clients are shown. */
  authority: ProxyAuthority
  /** Called with what clients must trust, after the port is ours and before any connection is taken. */
  publish: (certificatesPem: string) => void
  /** Bytes below which blobs are the registry's to serve. */
  p2pMinBytes: number
  /** Tunnels may lead to link-local and metadata addresses. */
  permitLinkLocal: boolean
  /** What tunnels may lead to although it is denied otherwise; [] unless given. */
  permittedTargets?: readonly PermittedTarget[]
  /** Who is at the other end of a connection; from the kernel unless given. */
  owners?: SocketOwners
  /** Ports of this node's other listeners: not to be reached through the proxy. */
  deniedPorts: number[]
  metrics: Metrics
  log: Logger
  /** Absent: they are logged, and counted nowhere. */
  defects?: Defects
}

export interface RunningProxy {
  readonly address: ListenAddress
  close(): Promise<void>
}

/**
 * Starts the proxy that pulling clients on this machine are pointed at.
 * @throws ListenNotLoopbackError, ListenFailedError, and what `publish` throws
 */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { client, registries, authority, p2pMinBytes, log } = options
  const { defects = new Defects({ log, count: () => undefined }) } = options
  const metrics = proxyMetrics(options.metrics)
  const plans = new ManifestPlans(client, p2pMinBytes)
  const strangers = new Strangers()
  const pulls = { client, plans, strangers, metrics, log, defects, p2pMinBytes }
  const intercept = new InterceptServer({
    authority,
    log,
    onRequest: (request, response, registry) =>
      requestBoundary(defects, response).run(() => {
        const refusal = misdirection(request, registry)
        if (refusal !== undefined) return refuse(log, refusal, response)
        return answer(pulls, { request, response, registry })
      }),
  })
  const policy = new TargetPolicy(options)
  const owners = options.owners ?? new KernelSocketOwners()
  const rejections = new Rejections()
  const connects = { registries, intercept, rejections, owners, policy, metrics, log, defects }
  const server = listener({
    onConnect: (request, socket, head) =>
      defects
        .boundary('proxy_connect', () => socket.destroy())
        .run(() => answerConnect(connects, { request, socket, head })),
    onPlain: (request, response) =>
      requestBoundary(defects, response).run(() => answerPlain(policy, log, request, response)),
    onMalformed: malformedRefusal(log),
  })
  const bounds = {
    connectionsMax: PROXY_CONNECTIONS_MAX,
    perUserMax: PROXY_CONNECTIONS_PER_USER_MAX,
    rootReserve: PROXY_CONNECTIONS_OF_ROOT_MIN,
  }
  new UserShares({ bounds, owners, log }).watch(server)
  const connections = new Connections(server)
  const close = async () => {
    intercept.close()
    await connections.closeWith(server)
  }
  try {
    const address = await listenOnLoopback(server, options.listen, 'proxyListen')
    for (const port of [address.port, ...options.deniedPorts]) policy.denyOwnPort(port)
    options.publish(authority.certificatesPem)
    return { address, close }
  } catch (error) {
    await close()
    throw error
  }
}

interface Handlers {
  onConnect: (request: IncomingMessage, socket: Socket, head: Buffer) => void
  onPlain: (request: IncomingMessage, response: ServerResponse) => void
  onMalformed: ReturnType<typeof malformedRefusal>
}

function listener({ onConnect, onPlain, onMalformed }: Handlers): Server {
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_PATIENCE_MS,
    requestTimeout: 0,
  })
  server.timeout = SOCKET_IDLE_MS
  server.on('connect', (request, socket, head) => onConnect(request, socket as Socket, head))
  server.on('request', onPlain)
  server.on('clientError', onMalformed)
  return server
}

/** A request for another host, or not in origin-form, must not reach a registry that may read it differently. */
function misdirection(request: IncomingMessage, registry: RegistryClient): ShoalError | undefined {
  if (!request.url?.startsWith('/')) return new ProxyRequestError('the request target must start with /')
  try {
    if (parseRegistryHost(request.headers.host ?? '') === registry.host) return undefined
  } catch {
    // Not a host at all: the same answer.
  }
  return new MisdirectedRequestError(`this connection is for ${registry.host}`)
}

/** What a local client may not ask is told to the operator too. */
function refuse(log: Logger, refusal: ShoalError, response: ServerResponse): void {
  log.warn({ code: refusal.code, reason: refusal.message }, 'request refused')
  respondWithError(response, refusal)
}

/** Of one request: an answer that has begun is cut, so that nobody takes it for whole. */
function requestBoundary(defects: Defects, response: ServerResponse): Boundary {
  return defects.boundary('proxy_request', () => response.destroy())
}

async function answerPlain(
  policy: TargetPolicy,
  log: Logger,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await forwardPlain(policy, request, response)
  } catch (error) {
    if (error instanceof ShoalError) return refuse(log, error, response)
    throw error
  }
}
