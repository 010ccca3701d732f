import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import type { Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { isLoopbackAuthority } from '../core/network.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { DOCKER_HUB, parseRegistryHost, type RegistryHost } from '../core/repository.ts'
import { readRepositoryPath } from './blob-request.ts'
import { respondWithError } from './error-response.ts'
import {
  MirrorCallerError,
  MirrorMethodError,
  MirrorTargetError,
  MirrorUnusableError,
  ProxyRequestError,
} from './errors.ts'
import type { InterceptServer } from './intercept/intercept-server.ts'
import { Connections } from './loopback-listener.ts'
import { isOpenToUsers, listenAt, type MirrorPlace, type MirrorSocket, placeText } from './mirror-place.ts'
import { MirrorRefusals } from './mirror-refusals.ts'
import type { Exchange } from './pull.ts'
import type { SocketOwners } from './socket-owner.ts'
import { hasBody } from './upstream/forward.ts'
import type { RegistryReach } from './upstream/registry-reach.ts'
import type { UserShares } from './user-shares.ts'

/**
 * The mirror: registries' pull API in plain HTTP for the runtimes of this machine, which name it in `hosts.toml`,
 * `registries.conf` or `registry-mirrors`. A request is answered as one inside an intercepted connection, by what its own
 * Authorization header may have at the registry. Whatever the mirror refuses is refused so that the runtime goes on to the
 * registry.
 */

export interface MirrorParts {
  registries: RegistryClients
  intercept: InterceptServer
  /** Answers as inside an intercepted connection; never rejects. */
  answer: (exchange: Exchange) => Promise<void>
  reach: RegistryReach
  owners: SocketOwners
  /** Bounds the connections of all listeners together. */
  shares: UserShares
  conditions: Conditions
  defects: Defects
  log: Logger
}

export interface RunningMirror {
  /** Where it listens, in the order of the places. */
  readonly sockets: readonly MirrorSocket[]
  close(): Promise<void>
}

/**
 * Starts a listener at each place.
 * @throws ListenNotLoopbackError, ListenFailedError, DataFolderError; it first closes those that were started
 */
export async function startMirror(
  parts: MirrorParts,
  places: readonly MirrorPlace[],
): Promise<RunningMirror> {
  const refusals = new MirrorRefusals(parts.conditions)
  const closing = new AsyncDisposableStack()
  closing.defer(() => refusals.close())
  const sockets: MirrorSocket[] = []
  try {
    for (const place of places) {
      const server = createServer({ noDelay: true, keepAlive: true })
      parts.shares.watch(server)
      server.on('connection', (socket: Socket) =>
        parts.intercept.acceptPlain(socket, (request, response) => {
          // The shares count a connection by what it asks, wherever that is read.
          server.emit('request', request)
          const boundary = parts.defects.boundary('proxy_request', () => response.destroy())
          boundary.run(() => answerMirrored({ ...parts, refusals }, place, { request, response }))
        }),
      )
      const connections = new Connections(server)
      closing.defer(() => connections.closeWith(server))
      const socket = await listenAt(server, place.socket)
      sockets.push(socket)
      const text = placeText(socket)
      if (isOpenToUsers(socket)) parts.conditions.raise('MIRROR_PORT_OPEN', text)
    }
  } catch (error) {
    await closing.disposeAsync()
    throw error
  }
  return { sockets, close: () => closing.disposeAsync() }
}

interface MirrorExchange {
  request: IncomingMessage
  response: ServerResponse
}

async function answerMirrored(
  parts: MirrorParts & { refusals: MirrorRefusals },
  place: MirrorPlace,
  { request, response }: MirrorExchange,
): Promise<void> {
  try {
    refuseForeignCaller(place.socket, request)
    const { registry, url } = targetOf(parts.registries, place, request)
    await refuseUnusable(parts, registry, request)
    // The registry gets the request as if it had been made there.
    request.url = `${registry.apiPath ?? ''}${url}`
    if (registry.host === DOCKER_HUB) parts.conditions.clear('DOCKER_HUB_NEEDS_MIRROR')
    await parts.answer({ request, response, registry, isMirrored: true })
    const repository = readRepositoryPath(url, '(?:manifests|blobs|tags)/.+')?.repository
    if (repository !== undefined) parts.refusals.note({ registry: registry.host, repository }, response)
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    parts.log.info({ code: error.code, reason: error.message }, 'the mirror leaves a request to the registry')
    respondWithError(response, error)
  }
}

/**
 * A page in a browser may resolve its own name to 127.0.0.1 (DNS rebinding), or ask for this address itself. Runtimes do
 * neither.
 * @throws MirrorCallerError
 */
function refuseForeignCaller(socket: MirrorSocket, { headers }: IncomingMessage): void {
  if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined)
    throw new MirrorCallerError('the mirror is for container runtimes, not for browsers')
  if (!('path' in socket) && !isLoopbackAuthority(headers.host ?? ''))
    throw new MirrorCallerError('ask the mirror by localhost or a loopback address')
}

/**
 * The registry that a request is for, and what it asks there.
 * @throws ProxyRequestError, MirrorMethodError, MirrorTargetError
 */
function targetOf(
  registries: RegistryClients,
  place: MirrorPlace,
  request: IncomingMessage,
): { registry: RegistryClient; url: string } {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new MirrorMethodError('the mirror is for pulls: GET and HEAD')
  if (hasBody(request)) throw new ProxyRequestError('a pull has no body')
  const { path, ns, url } = withoutNamespace(request.url ?? '')
  if (path !== '/v2' && !path.startsWith('/v2/'))
    throw new MirrorTargetError('the mirror has the API below /v2/ and nothing else')
  const host = ns === undefined ? (place.registry ?? DOCKER_HUB) : registryNamed(ns)
  const isOther = place.registry !== undefined && place.registry !== host
  const registry = host === undefined || isOther ? undefined : registries.get(host)
  if (registry === undefined) throw new MirrorTargetError('the mirror does not stand for this registry')
  return { registry, url }
}

/** Takes containerd's `ns` out of a request's query, and leaves all else as it was written. @throws ProxyRequestError */
function withoutNamespace(written: string): { path: string; ns: string | undefined; url: string } {
  const [path = '', ...query] = written.split('?')
  const fields = query.length === 0 ? [] : query.join('?').split('&')
  const named = fields.filter((field) => field.startsWith('ns='))
  if (named.length > 1) throw new ProxyRequestError('ns is given twice')
  const rest = fields.filter((field) => !field.startsWith('ns='))
  return {
    path,
    ns: named[0]?.slice('ns='.length),
    url: rest.length === 0 ? path : `${path}?${rest.join('&')}`,
  }
}

function registryNamed(ns: string): RegistryHost | undefined {
  try {
    return parseRegistryHost(decodeURIComponent(ns))
  } catch {
    return undefined
  }
}

/**
 * What the proxy tunnels, the mirror must leave to the runtime: a registry that this process cannot use, and the machine's
 * client certificate, which is root's.
 * @throws MirrorUnusableError
 */
async function refuseUnusable(
  { reach, owners }: MirrorParts,
  registry: RegistryClient,
  { socket }: IncomingMessage,
): Promise<void> {
  if (await reach.isTunnelled(registry))
    throw new MirrorUnusableError(`this node cannot use ${registry.host} now; a condition says why`)
  if (registry.hasIdentity === true && (await owners.userOf(socket)) !== 0)
    throw new MirrorUnusableError(`the client certificate for ${registry.host} is root's`)
}
