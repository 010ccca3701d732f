import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { type Defects, isDefect } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { parseRegistryHost } from '../core/repository.ts'
import { refuseSocket } from './error-response.ts'
import type { InterceptServer } from './intercept/intercept-server.ts'
import { isRejection, type Rejections, TUNNEL_AFTER_REJECTION_MS } from './intercept/rejections.ts'
import type { ConnectOutcome, ProxyMetrics } from './metrics.ts'
import { parseAuthority, type Target, type TargetPolicy } from './upstream/target.ts'
import { connectTarget, joinSockets } from './upstream/tunnel.ts'

/** RFC 9110 §9.3.6. */
const CONNECTED = 'HTTP/1.1 200 Connection established\r\n\r\n'

/** As much of a refused target as is logged: the longest name and port. */
const TARGET_CHARS_LOGGED_MAX = 260

export interface ConnectParts {
  registries: RegistryClients
  intercept: InterceptServer
  rejections: Rejections
  policy: TargetPolicy
  metrics: ProxyMetrics
  log: Logger
  defects: Defects
}

/** A CONNECT request and its connection, which HTTP has let go of. */
export interface ConnectExchange {
  request: IncomingMessage
  socket: Socket
  /** What the client sent right behind the request. */
  head: Buffer
}

/** Intercepts connections to configured registries and tunnels all others. Never rejects. */
export async function answerConnect(parts: ConnectParts, exchange: ConnectExchange): Promise<void> {
  const { socket } = exchange
  socket.setTimeout(0)
  // HTTP took its own listener with it; without one an error would be a defect.
  socket.on('error', () => socket.destroy())
  try {
    const target = parseAuthority(exchange.request.url ?? '')
    const registry = registryAt(parts.registries, target)
    const isRejected = registry !== undefined && parts.rejections.has(clientOf(exchange, registry))
    const outcome =
      registry === undefined || isRejected
        ? await tunnel(parts, exchange, target, isRejected)
        : await intercept(parts, exchange, registry)
    parts.metrics.connectAnswered(outcome)
  } catch (error) {
    refuse(parts, exchange, error)
  }
}

/** The configured registry at exactly this host and port. */
function registryAt(registries: RegistryClients, { host, port }: Target): RegistryClient | undefined {
  try {
    return registries.get(parseRegistryHost(`${host.includes(':') ? `[${host}]` : host}:${port}`))
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    return undefined
  }
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

async function intercept(
  { intercept, rejections, log, defects }: ConnectParts,
  exchange: ConnectExchange,
  registry: RegistryClient,
): Promise<ConnectOutcome> {
  exchange.socket.write(CONNECTED)
  try {
    await intercept.accept(exchange.socket, exchange.head, registry)
    return 'intercepted'
  } catch (error) {
    if (isDefect(error)) defects.note('proxy_connect', error)
    const client = clientOf(exchange, registry)
    if (isRejection(error as { code?: string })) {
      rejections.note(client)
      log.warn(
        { ...client, tunnelledForMs: TUNNEL_AFTER_REJECTION_MS },
        'a client does not trust the proxy for this registry: its connections are tunnelled for a while',
      )
    } else log.debug({ ...client, reason: (error as Error).message }, 'no TLS with a client')
    exchange.socket.destroy()
    return 'failed'
  }
}

function clientOf({ request }: ConnectExchange, { host }: RegistryClient) {
  return { registry: host, userAgent: request.headers['user-agent'] ?? '' }
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

/** Of a target that may be none: without user info, which may be a password, and cut. */
function hostOf(target: string): string {
  return target.slice(target.lastIndexOf('@') + 1).slice(0, TARGET_CHARS_LOGGED_MAX)
}
