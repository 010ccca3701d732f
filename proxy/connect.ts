import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { basename } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import { type Defects, isDefect } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { addressText } from '../core/network.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { DOCKER_HUB, parseRegistryHost, type RegistryHost, registryAddress } from '../core/repository.ts'
import { refuseSocket } from './error-response.ts'
import type { InterceptServer } from './intercept/intercept-server.ts'
import { isRejection, type Rejections } from './intercept/rejections.ts'
import type { ConnectOutcome, ProxyMetrics } from './metrics.ts'
import type { SocketOwner, SocketOwners } from './socket-owner.ts'
import { parseAuthority, type Target, type TargetPolicy } from './upstream/target.ts'
import { connectTarget, joinSockets } from './upstream/tunnel.ts'

/** RFC 9110 §9.3.6. */
const CONNECTED = 'HTTP/1.1 200 Connection established\r\n\r\n'

/** Under a flood of connections the kernel's tables are late; a pull then continues without knowing its user. */
const OWNER_PATIENCE_MS = 250
/** Bound of a refused target in the log: the longest name and port. */
const TARGET_CHARS_LOGGED_MAX = 260

export interface ConnectParts {
  registries: RegistryClients
  intercept: InterceptServer
  rejections: Rejections
  owners: SocketOwners
  policy: TargetPolicy
  metrics: ProxyMetrics
  conditions: Conditions
  log: Logger
  defects: Defects
}

/** A CONNECT request and its connection, which HTTP no longer handles. */
export interface ConnectExchange {
  request: IncomingMessage
  socket: Socket
  /** Bytes that the client sent right behind the request. */
  head: Buffer
}

/** Intercepts connections to configured registries and tunnels all others. Never rejects. */
export async function answerConnect(parts: ConnectParts, exchange: ConnectExchange): Promise<void> {
  const { socket } = exchange
  socket.setTimeout(0)
  // HTTP removed its own error listener; without one an error would count as a defect.
  socket.on('error', () => socket.destroy())
  try {
    const target = parseAuthority(exchange.request.url ?? '')
    const registry = registryAt(parts.registries, target)
    // Find the owner before TLS: a program that rejects our certificate may be gone a moment later.
    const owner = registry === undefined ? undefined : await ownerSoon(parts.owners, socket)
    const isRejected =
      registry !== undefined &&
      (readsNoTrustFile(registry.host, owner) || parts.rejections.has(registry.host, owner))
    const outcome =
      registry === undefined || isRejected
        ? await tunnel(parts, exchange, target, isRejected)
        : await intercept(parts, exchange, registry, owner)
    parts.metrics.connectAnswered(outcome)
  } catch (error) {
    refuse(parts, exchange, error)
  }
}

/** The configured registry at exactly this host and port. Other names of Docker Hub lead to other services as well. */
function registryAt(registries: RegistryClients, target: Target): RegistryClient | undefined {
  try {
    const registry = registries.get(parseRegistryHost(addressText(target)))
    return registry !== undefined && registryAddress(registry.host).host === target.host
      ? registry
      : undefined
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    return undefined
  }
}

/** dockerd verifies Docker Hub against the system's store only (DOCKER_HUB_NEEDS_MIRROR): its pulls would fail. */
function readsNoTrustFile(registry: RegistryHost, owner: SocketOwner | undefined): boolean {
  return registry === DOCKER_HUB && basename(owner?.executable ?? '') === 'dockerd'
}

async function tunnel(
  { policy }: ConnectParts,
  { socket, head }: ConnectExchange,
  target: Target,
  isRejected: boolean,
): Promise<ConnectOutcome> {
  const upstream = await connectTarget(await policy.check(target))
  if (socket.destroyed) upstream.destroy()
  socket.write(CONNECTED)
  joinSockets(socket, upstream, head)
  return isRejected ? 'tunnelled_rejected' : 'tunnelled'
}

async function ownerSoon(owners: SocketOwners, socket: Socket): Promise<SocketOwner | undefined> {
  const late = new AbortController()
  const patience = wait(OWNER_PATIENCE_MS, undefined, { signal: late.signal }).catch(() => undefined)
  try {
    return await Promise.race([owners.ownerOf(socket), patience])
  } finally {
    late.abort()
  }
}

async function intercept(
  { intercept, rejections, log, defects }: ConnectParts,
  exchange: ConnectExchange,
  registry: RegistryClient,
  owner: SocketOwner | undefined,
): Promise<ConnectOutcome> {
  const { socket, head, request } = exchange
  socket.write(CONNECTED)
  try {
    await intercept.accept(socket, head, registry)
    rejections.clear(registry.host, owner)
    return 'intercepted'
  } catch (error) {
    if (isDefect(error)) defects.note('proxy_connect', error)
    const client = { registry: registry.host, ...owner, userAgent: request.headers['user-agent'] ?? '' }
    if (isRejection(error as { code?: string })) {
      const tunnelledForMs = rejections.note(registry.host, owner)
      log.warn(
        { ...client, tunnelledForMs },
        'a client does not trust the proxy for this registry: its connections are tunnelled for a while',
      )
    } else log.debug({ ...client, reason: (error as Error).message }, 'no TLS with a client')
    socket.destroy()
    return 'failed'
  }
}

function refuse(
  { metrics, log, defects }: ConnectParts,
  { request, socket }: ConnectExchange,
  error: unknown,
): void {
  const isDenied = error instanceof ShoalError && error.code === 'CONNECT_DENIED'
  metrics.connectAnswered(isDenied ? 'denied' : 'failed')
  if (error instanceof ShoalError) {
    const facts = { target: hostOf(request.url ?? ''), code: error.code, reason: error.message }
    log.warn(facts, 'CONNECT refused')
    refuseSocket(socket, error)
    return
  }
  defects.note('proxy_connect', error)
  socket.destroy()
}

/** The target for the log: cut, and without user info, which may be a password. It need not be a valid target. */
function hostOf(target: string): string {
  return target.slice(target.lastIndexOf('@') + 1).slice(0, TARGET_CHARS_LOGGED_MAX)
}
