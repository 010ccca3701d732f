import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { basename } from 'node:path'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import { type Defects, isDefect } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { addressText } from '../core/network.ts'
import { isSettledWithin } from '../core/patience.ts'
import type { RegistryClient, RegistryClients } from '../core/registry-client.ts'
import { DOCKER_HUB, parseRegistryHost, type RegistryHost, registryAddress } from '../core/repository.ts'
import { refuseSocket } from './error-response.ts'
import type { InterceptServer } from './intercept/intercept-server.ts'
import {
  isRejection,
  REJECTION_KEPT_MS,
  type RejectingProgram,
  type Rejections,
} from './intercept/rejections.ts'
import { type TrustedPlaces, trustRemedy } from './intercept/trust-remedy.ts'
import { isTunnelledName } from './intercept/tunnelled-name.ts'
import type { ConnectOutcome, ProxyMetrics } from './metrics.ts'
import type { Pausing } from './pause.ts'
import type { SocketOwner, SocketOwners } from './socket-owner.ts'
import type { RegistryReach } from './upstream/registry-reach.ts'
import { parseAuthority, type Target, type TargetPolicy } from './upstream/target.ts'
import { connectTarget, joinSockets } from './upstream/tunnel.ts'

/** RFC 9110 §9.3.6. */
const CONNECTED = 'HTTP/1.1 200 Connection established\r\n\r\n'

/**
 * Under a flood of connections the kernel's tables are late; a pull then continues without knowing its user. Measured: 4 ms
 * with few sockets on the machine, 20 ms with 1,000, 70 ms with 2,000 and one CONNECT after the other. `shoal owners` takes 5 ms,
 * and 140 to start, on a busy machine up to 340.
 */
const OWNER_PATIENCE_MS = 600
/** Bound of a refused target in the log: the longest name and port. */
const TARGET_CHARS_LOGGED_MAX = 260

export interface ConnectParts {
  registries: RegistryClients
  intercept: InterceptServer
  rejections: Rejections
  places: TrustedPlaces
  reach: RegistryReach
  pause: Pausing
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
    const found = registryAt(parts.registries, target)
    const isTunnelled = found !== undefined && isTunnelledName(exchange.request.url ?? '', found.host)
    const registry = isTunnelled ? undefined : found
    const outcome =
      registry === undefined
        ? await tunnel(parts, exchange, target, 'tunnelled')
        : await answerForRegistry(parts, exchange, registry, target)
    parts.metrics.connectAnswered(outcome)
  } catch (error) {
    refuse(parts, exchange, error)
  }
}

/** The configured registry at exactly this host and port; a dot at the end makes a name absolute. Other names of Docker Hub lead to other services as well. */
function registryAt(registries: RegistryClients, target: Target): RegistryClient | undefined {
  try {
    const registry = registries.get(parseRegistryHost(addressText(target)))
    return registry !== undefined && registryAddress(registry.host).host === target.host.replace(/\.$/, '')
      ? registry
      : undefined
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    return undefined
  }
}

/** Tunnels programs that rejected our certificate lately, everybody to a registry that this process cannot use, and all while it is paused. */
async function answerForRegistry(
  parts: ConnectParts,
  exchange: ConnectExchange,
  registry: RegistryClient,
  target: Target,
): Promise<ConnectOutcome> {
  const { rejections, owners, reach, pause } = parts
  if (pause.isPaused) return tunnel(parts, exchange, target, 'tunnelled_paused')
  const beganAtMs = performance.now()
  // Looked up before the client has seen our certificate: a program that rejects it may be gone a moment later.
  rejections.forgetOld()
  const isInDoubt = rejections.isInDoubt(registry.host)
  // Who may have to be asked costs a process: only where the program matters now.
  const mayAsk = isInDoubt || registry.host === DOCKER_HUB
  const owner = ownerSoon(owners, exchange.socket, mayAsk)
  const isRejected = isInDoubt && rejections.has(registry.host, await owner)
  if (isRejected || (await readsNoTrustFile(registry.host, owner)))
    return tunnel(parts, exchange, target, 'tunnelled_rejected')
  if (await isLent(registry, owner)) return tunnel(parts, exchange, target, 'tunnelled_unusable')
  if (await reach.isTunnelled(registry)) return tunnel(parts, exchange, target, 'tunnelled_unusable')
  return intercept(parts, exchange, { registry, owner, beganAtMs })
}

/** The machine's client certificate is root's: no other user may use it through this process. */
async function isLent(
  { hasIdentity }: RegistryClient,
  owner: Promise<SocketOwner | undefined>,
): Promise<boolean> {
  return hasIdentity === true && (await owner)?.uid !== 0
}

/** dockerd verifies Docker Hub against the system's store only (DOCKER_HUB_NEEDS_MIRROR): its pulls would fail. */
async function readsNoTrustFile(
  registry: RegistryHost,
  owner: Promise<SocketOwner | undefined>,
): Promise<boolean> {
  return registry === DOCKER_HUB && basename((await owner)?.executable ?? '') === 'dockerd'
}

async function tunnel(
  { policy }: ConnectParts,
  { socket, head }: ConnectExchange,
  target: Target,
  outcome: ConnectOutcome,
): Promise<ConnectOutcome> {
  const upstream = await connectTarget(await policy.check(target))
  if (socket.destroyed) upstream.destroy()
  socket.write(CONNECTED)
  joinSockets(socket, upstream, head)
  return outcome
}

async function ownerSoon(
  owners: SocketOwners,
  socket: Socket,
  mayAsk: boolean,
): Promise<SocketOwner | undefined> {
  const owner = owners.ownerOf(socket, { mayAsk })
  return (await isSettledWithin(owner, OWNER_PATIENCE_MS)) ? owner : undefined
}

interface Interception {
  registry: RegistryClient
  owner: Promise<SocketOwner | undefined>
  beganAtMs: number
}

async function intercept(
  parts: ConnectParts,
  { socket, head, request }: ConnectExchange,
  { registry, owner, beganAtMs }: Interception,
): Promise<ConnectOutcome> {
  const { intercept, log, defects } = parts
  socket.write(CONNECTED)
  try {
    await intercept.accept(socket, head, registry)
    void owner.then((accepting) => accepted(parts, registry.host, accepting))
    return 'intercepted'
  } catch (error) {
    if (isDefect(error)) defects.note('proxy_connect', error)
    const rejecting = await owner
    const client = { registry: registry.host, ...rejecting, userAgent: request.headers['user-agent'] ?? '' }
    if (isRejection(error as { code?: string })) rejected(parts, client, rejecting, beganAtMs)
    else log.debug({ ...client, reason: (error as Error).message }, 'no TLS with a client')
    socket.destroy()
    return 'failed'
  }
}

function accepted(
  { rejections, conditions }: ConnectParts,
  registry: RegistryHost,
  owner: SocketOwner | undefined,
): void {
  rejections.clear(registry, owner)
  if (owner === undefined) return
  for (const one of [owner, { uid: owner.uid }])
    conditions.clear('CLIENT_DISTRUSTS', subjectOf({ registry, owner: one }))
}

function rejected(
  { rejections, conditions, places, log }: ConnectParts,
  client: { registry: RegistryHost; userAgent: string },
  owner: SocketOwner | undefined,
  beganAtMs: number,
): void {
  const { registry } = client
  const tunnelledForMs = rejections.note(registry, owner, beganAtMs)
  if (owner === undefined || tunnelledForMs === 0) {
    log.warn({ ...client, tunnelledForMs }, 'a client rejected the proxy for this registry; it may try again')
    return
  }
  const mend = trustRemedy(owner, { registry, places })
  const untilMs = Date.now() + tunnelledForMs + REJECTION_KEPT_MS
  const facts = { registry, ...owner, mend }
  conditions.raise('CLIENT_DISTRUSTS', subjectOf({ registry, owner }), facts, { untilMs })
  log.info(
    { ...client, tunnelledForMs },
    'a client does not trust the proxy for this registry: its connections are tunnelled for a while',
  )
}

/** In an operator's words: `registry.example.com: containerd (/usr/bin/containerd, unit containerd.service, user 0)`. */
function subjectOf({ registry, owner: { uid, executable, unit } }: RejectingProgram): string {
  const known = [
    ...(executable === undefined ? [] : [executable]),
    ...(unit?.endsWith('.service') ? [`unit ${unit}`] : []),
    `user ${uid}`,
  ]
  return `${registry}: ${basename(executable ?? 'a program')} (${known.join(', ')})`
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
