import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Client } from '../client/index.ts'
import { Conditions } from '../core/conditions.ts'
import type { ListenAddress } from '../core/config.ts'
import { type Boundary, Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import type { Metrics } from '../core/metrics.ts'
import { createServer } from '../core/node-http.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { parseRegistryHost } from '../core/repository.ts'
import { Strangers } from '../core/strangers.ts'
import type { UpstreamProxy } from '../core/upstream-proxy.ts'
import { AcceptedCallers } from './accepted-callers.ts'
import { AcceptedRequests } from './accepted-requests.ts'
import { answerConnect } from './connect.ts'
import { respondWithError } from './error-response.ts'
import { MisdirectedRequestError, ProxyRequestError } from './errors.ts'
import type { ProxyAuthority } from './intercept/authority.ts'
import { InterceptServer, malformedRefusal, SOCKET_IDLE_MS } from './intercept/intercept-server.ts'
import { Rejections } from './intercept/rejections.ts'
import type { TrustedPlaces } from './intercept/trust-remedy.ts'
import { HEADER_BYTES_MAX, HEADERS_PATIENCE_MS, PROXY_SHARES } from './listener-bounds.ts'
import { Connections, listenOnLoopback } from './loopback-listener.ts'
import { ManifestPlans } from './manifest-plans.ts'
import { proxyMetrics } from './metrics.ts'
import { type RunningMirror, startMirror } from './mirror.ts'
import type { MirrorPlace, MirrorSocket } from './mirror-place.ts'
import { NEVER_PAUSED, type Pausing } from './pause.ts'
import { answer, type Exchange } from './pull.ts'
import { PullRecords, type SeenImage } from './pull-records.ts'
import { PushWatch } from './push/push-watch.ts'
import type { SizeLimit } from './size-limit.ts'
import { KernelSocketOwners, type SocketOwners } from './socket-owner.ts'
import { AUTHORITY_FILE_NAME } from './trust-files.ts'
import { forwardPlain } from './upstream/plain-forward.ts'
import { RegistryReach } from './upstream/registry-reach.ts'
import { type PermittedTarget, TargetPolicy } from './upstream/target.ts'
import { UserShares } from './user-shares.ts'
import type { Verdict } from './verdict.ts'

/** How long a proxy that ends may finish the answers and tunnels that have begun. */
export const DRAIN_MS = 30_000

/** What may change while the proxy runs. */
export interface ProxySettings {
  /** The registry serves blobs with fewer bytes. */
  p2pMinBytes: number
  /** Tunnels may lead to link-local and metadata addresses. */
  permitLinkLocal: boolean
  /** Targets that tunnels may reach although they are otherwise denied; default []. */
  permittedTargets?: readonly PermittedTarget[]
}

export interface ProxyOptions extends ProxySettings {
  listen: ListenAddress
  /** The descriptor of a bound socket that a guard handed over, instead of one at `listen`. */
  descriptor?: number | undefined
  client: Client
  registries: RegistryClients
  /** Signs the certificates for pulling clients. */
  authority: ProxyAuthority
  /** Called with the certificates that clients must trust, once the port is bound and before the first connection. */
  publish: (certificatesPem: string) => void
  /** Where `publish` puts them, for advice to operators; default: Docker's folder. */
  places?: TrustedPlaces
  /** Clients may still hold the authority of an earlier run; default false. */
  isRestarted?: boolean
  /** What tunnels and plain requests go through, where it is the only way. */
  upstreamProxy?: UpstreamProxy | undefined
  /** Finds the owner of a connection's other end; default: from the kernel. */
  owners?: SocketOwners
  /** Ports of this node's other listeners, which must not be reachable through the proxy. */
  deniedPorts: number[]
  metrics: Metrics
  log: Logger
  /** Where the mirror listens; default nowhere. */
  mirrorPlaces?: readonly MirrorPlace[]
  /** If absent, it never stands aside. */
  pause?: Pausing
  /** If absent, records of pulls are kept and not shown. */
  records?: PullRecords
  /** The manifest of an image passed. */
  onImage?: (image: SeenImage) => void
  /** If absent, conditions are logged but not shown. */
  conditions?: Conditions
  /** If absent, defects are logged but not counted. */
  defects?: Defects
}

export interface RunningProxy {
  readonly address: ListenAddress
  /** Where the mirror listens. */
  readonly mirrorSockets: readonly MirrorSocket[]
  /**
   * Listens there too, for the mirror.
   * @throws ListenNotLoopbackError, ListenFailedError, DataFolderError
   */
  openMirror(places: readonly MirrorPlace[]): Promise<void>
  /** Other certificates than at the start were published. */
  authorityChanged(): void
  /** From the next connection, or request, on. */
  change(settings: ProxySettings): void
  /** Accepts no more, finishes what has begun within DRAIN_MS, and ends. */
  drain(): Promise<void>
  close(): Promise<void>
}

/**
 * Starts the proxy for the pulling clients on this machine.
 * @throws ListenNotLoopbackError, ListenFailedError, and errors of `publish`
 */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { client, registries, authority, log } = options
  const { defects = new Defects({ log, count: () => undefined }) } = options
  const { conditions = new Conditions({ log }) } = options
  const metrics = proxyMetrics(options.metrics)
  const { records = new PullRecords() } = options
  const callers = new AcceptedCallers()
  const onImage = (image: SeenImage) => {
    records.sawImage(image)
    options.onImage?.(image)
  }
  const limit: SizeLimit = { p2pMinBytes: options.p2pMinBytes }
  const plans = new ManifestPlans(client, limit, { onImage, callers })
  const strangers = new Strangers()
  const accepted = new AcceptedRequests<Verdict>()
  const reach = new RegistryReach({ conditions })
  const { pause = NEVER_PAUSED } = options
  const shared = { reach, pause, metrics, conditions, log, defects }
  const pulls = {
    client,
    plans,
    pushes: new PushWatch({ client, limit, defects }),
    strangers,
    accepted,
    callers,
    records,
    served: new WeakSet<Socket>(),
    limit,
    ...shared,
  }
  const intercept = new InterceptServer({
    authority,
    pause,
    log,
    onRequest: (request, response, registry) =>
      requestBoundary(defects, response).run(() => {
        const refusal = misdirection(request, registry)
        if (refusal !== undefined) return refuse(log, refusal, response)
        return answer(pulls, { request, response, registry })
      }),
  })
  for (const registry of registries.values()) registry.habits.reportTo(conditions)
  const policy = new TargetPolicy(options)
  const owners = options.owners ?? new KernelSocketOwners()
  const rejections = new Rejections()
  const { places = { dockerCertsDir: '/etc/docker/certs.d', authorityFile: AUTHORITY_FILE_NAME } } = options
  const connects = { registries, intercept, rejections, places, owners, policy, ...shared }
  const server = listener({
    onConnect: (request, socket, head) =>
      defects
        .boundary('proxy_connect', () => socket.destroy())
        .run(() => answerConnect(connects, { request, socket, head })),
    onPlain: (request, response) =>
      requestBoundary(defects, response).run(() => answerPlain(policy, log, request, response)),
    onMalformed: malformedRefusal(log),
  })
  new UserShares({ bounds: PROXY_SHARES, owners, log }).watch(server)
  const connections = new Connections(server)
  const mirrors: RunningMirror[] = []
  const close = async (patienceMs = 0) => {
    reach.close()
    intercept.drain()
    await Promise.all([
      ...mirrors.map((mirror) => mirror.close(patienceMs)),
      connections.closeWith(server, patienceMs),
    ])
    intercept.close()
  }
  try {
    const address = await listenOnLoopback(server, options.listen, 'proxyListen', options.descriptor)
    const shares = new UserShares({ bounds: PROXY_SHARES, owners, log })
    const mirrorParts = { registries, intercept, owners, shares, ...shared }
    const openMirror = async (places: readonly MirrorPlace[]) => {
      const parts = { ...mirrorParts, answer: (exchange: Exchange) => answer(pulls, exchange) }
      const { sockets } = mirrors[mirrors.push(await startMirror(parts, places)) - 1]!
      for (const socket of sockets) if ('port' in socket) policy.denyOwnPort(socket.port)
    }
    await openMirror(options.mirrorPlaces ?? [])
    for (const port of [address.port, ...options.deniedPorts]) policy.denyOwnPort(port)
    options.publish(authority.certificatesPem)
    reach.start(registries.values())
    if (options.isRestarted) rejections.authorityChanged()
    return {
      address,
      get mirrorSockets() {
        return mirrors.flatMap(({ sockets }) => sockets)
      },
      openMirror,
      authorityChanged: () => rejections.authorityChanged(),
      change(settings) {
        limit.p2pMinBytes = settings.p2pMinBytes
        policy.permit({ upstreamProxy: options.upstreamProxy, ...settings })
      },
      drain: () => close(DRAIN_MS),
      close: () => close(),
    }
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

/** A request for another host, or not in origin-form, must not reach a registry, which may read it differently. */
function misdirection(request: IncomingMessage, registry: RegistryClient): ShoalError | undefined {
  if (!request.url?.startsWith('/')) return new ProxyRequestError('the request target must start with /')
  try {
    if (parseRegistryHost(request.headers.host ?? '') === registry.host) return undefined
  } catch {
    // Not a valid host: the same answer.
  }
  return new MisdirectedRequestError(`this connection is for ${registry.host}`)
}

/** Refuses a request and tells the operator too. */
function refuse(log: Logger, refusal: ShoalError, response: ServerResponse): void {
  log.warn({ code: refusal.code, reason: refusal.message }, 'request refused')
  respondWithError(response, refusal)
}

/** The boundary of one request: an answer that has begun is cut, so that nobody takes it for whole. */
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
