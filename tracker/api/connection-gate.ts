import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { isDefect } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import { networkOf } from '../../core/network.ts'
import type { AddressRanges } from '../address-ranges.ts'
import type { TrackerMetrics } from '../metrics.ts'
import { noteSource, sourceOf } from './caller-source.ts'
import { ConnectionPlaces, leastOf, oldestOf } from './connection-places.ts'
import { HandshakeBudget } from './handshake-budget.ts'
import { takeProxyHeader } from './proxy-header.ts'

/** Connections of members of a cluster. An idle one over mutual TLS takes about 48 KiB: 528 MiB in all. */
export const MEMBER_CONNECTIONS_MAX = 11_264
/** Connections of one node among these: its client keeps four, and four more while its certificate changes. */
export const NODE_CONNECTIONS_MAX = 16
/** Connections that have sent bytes, but no member's certificate (yet). A join needs one for milliseconds. */
export const STRANGER_CONNECTIONS_MAX = 512
/**
 * Connections that have sent nothing: no TLS, about 6 KiB each. An attacker that opens 10,000 a second leaves others 400 ms
 * for their first packet.
 */
export const SILENT_CONNECTIONS_MAX = 4_096
/** From the first packet to the end of the TLS handshake. It takes milliseconds; this bounds a handshake that never ends. */
const HANDSHAKE_MS_MAX = 10_000
/** How often connections that wait for a handshake are checked. */
const WAITING_LOOK_MS = 25
/** A connection with a request in flight is dropped after others, unless their last progress is this much later. */
const UNDER_WAY_MS = 60_000

type Stage = 'silent' | 'waiting' | 'handshaking' | 'open'

interface Connection {
  network: string
  /** For whom a balancer opened it. */
  source?: string
  readonly socket: Socket
  stage: Stage
  /** Time of its last progress. */
  movedAtMs: number
  requestsUnderWay: number
  /** The member that it belongs to. */
  member?: string
}

export interface GateOptions {
  /** Names the member whose certificate the connection presented; undefined for everybody else. */
  memberOn(socket: TLSSocket): Promise<string | undefined>
  metrics: TrackerMetrics
  /** Who must begin with a PROXY header; default: nobody. */
  balancers?: AddressRanges
  onHeaderRefused?(error: ShoalError, balancer: string): void
}

/**
 * Decides which connections of a listener stay. Before TLS the caller is unknown, so all begin as strangers, who have few
 * places. A connection costs no TLS until it sends something, and then only within the budget of handshakes. Members have
 * places of their own, which strangers cannot take.
 */
export class ConnectionGate {
  readonly #options: GateOptions
  readonly #handshake: (socket: Socket) => void
  readonly #byEndpoint = new Map<string, Connection>()
  readonly #byMember = new Map<string, Set<Connection>>()
  readonly #silent = new ConnectionPlaces<Connection>(SILENT_CONNECTIONS_MAX, oldestOf)
  readonly #strangers = new ConnectionPlaces<Connection>(STRANGER_CONNECTIONS_MAX, leastWorth)
  readonly #members = new ConnectionPlaces<Connection>(MEMBER_CONNECTIONS_MAX, leastWorth)
  readonly #handshakes = new HandshakeBudget()
  readonly #waiting = new Set<Connection>()
  #timer: NodeJS.Timeout | undefined

  constructor(server: HttpsServer, options: GateOptions) {
    this.#options = options
    // The TLS server's own listener begins the handshake; it is called when it is the connection's turn.
    const [handshake] = server.listeners('connection')
    this.#handshake = (socket) => handshake!.call(server, socket)
    server.removeAllListeners('connection')
    server.on('connection', (socket: Socket) => this.#enter(socket))
    server.on('secureConnection', (socket: TLSSocket) => {
      this.#identify(socket).catch((error: unknown) => {
        // The store does not answer: the node opens another connection, here or at another tracker.
        socket.destroy()
        if (isDefect(error)) throw error
      })
    })
    server.on('request', (request, response) => {
      const connection = this.#byEndpoint.get(endpointOf(request.socket))
      if (connection === undefined) return
      connection.requestsUnderWay += 1
      response.once('close', () => {
        connection.requestsUnderWay -= 1
        connection.movedAtMs = performance.now()
      })
    })
  }

  /** Ends all connections, including those in their handshake. */
  close(): void {
    clearInterval(this.#timer)
    for (const { socket } of this.#byEndpoint.values()) socket.destroy()
  }

  #enter(socket: Socket): void {
    const connection: Connection = {
      network: networkOf(sourceOf(socket)),
      socket,
      stage: 'silent',
      movedAtMs: performance.now(),
      requestsUnderWay: 0,
    }
    const endpoint = endpointOf(socket)
    this.#byEndpoint.set(endpoint, connection)
    const deadline = setTimeout(() => {
      if (connection.stage !== 'open') this.#drop(connection, 'handshake')
    }, HANDSHAKE_MS_MAX)
    deadline.unref()
    socket.on('error', () => undefined)
    socket.once('close', () => {
      clearTimeout(deadline)
      this.#leave(connection, endpoint)
    })
    this.#makeRoom(this.#silent.take(connection))
    if (this.#options.balancers?.has(sourceOf(socket))) this.#enterBehindBalancer(connection)
    else socket.once('readable', () => this.#spoke(connection))
  }

  /** Until its header is here, the connection counts for the balancer. */
  #enterBehindBalancer(connection: Connection): void {
    const { socket } = connection
    const balancer = sourceOf(socket)
    takeProxyHeader(socket).then(
      ({ source }) => {
        if (socket.destroyed) return
        if (source !== undefined) {
          this.#silent.leave(connection)
          connection.source = source
          connection.network = networkOf(source)
          this.#makeRoom(this.#silent.take(connection))
        }
        socket.once('readable', () => this.#spoke(connection))
      },
      (error: ShoalError) => {
        this.#options.onHeaderRefused?.(error, balancer)
        this.#drop(connection, 'header')
      },
    )
  }

  #spoke(connection: Connection): void {
    // It ended without sending anything.
    if (connection.socket.readableLength === 0) return void connection.socket.destroy()
    this.#silent.leave(connection)
    this.#makeRoom(this.#strangers.take(connection))
    this.#reach(connection, 'waiting')
    this.#waiting.add(connection)
    if (this.#waiting.size === 1) this.#beginHandshakes()
  }

  /** Picks the next connections at random, so that opening many gives no advantage. */
  #beginHandshakes(): void {
    const waiting = [...this.#waiting]
    while (waiting.length > 0) {
      const [connection] = waiting.splice(Math.floor(Math.random() * waiting.length), 1)
      if (!this.#handshakes.take(connection!.network, performance.now())) continue
      this.#waiting.delete(connection!)
      this.#reach(connection!, 'handshaking')
      this.#handshake(connection!.socket)
    }
    clearTimeout(this.#timer)
    if (this.#waiting.size === 0) return
    this.#timer = setTimeout(() => this.#beginHandshakes(), WAITING_LOOK_MS)
    this.#timer.unref()
  }

  async #identify(socket: TLSSocket): Promise<void> {
    const connection = this.#byEndpoint.get(endpointOf(socket))
    if (connection === undefined) return void socket.destroy()
    this.#reach(connection, 'open')
    if (connection.source !== undefined) noteSource(socket, connection.source)
    const member = await this.#options.memberOn(socket)
    if (member === undefined || socket.destroyed) return
    connection.member = member
    this.#handshakes.giveBack(connection.network, member, performance.now())
    this.#strangers.leave(connection)
    this.#makeRoom(this.#members.take(connection))
    const own = this.#byMember.get(member) ?? new Set()
    this.#byMember.set(member, own.add(connection))
    if (own.size > NODE_CONNECTIONS_MAX) this.#makeRoom(leastWorth(own))
  }

  #reach(connection: Connection, stage: Stage): void {
    connection.stage = stage
    connection.movedAtMs = performance.now()
  }

  #makeRoom(least: Connection | undefined): void {
    if (least !== undefined) this.#drop(least, 'place')
  }

  #drop(connection: Connection, reason: 'place' | 'handshake' | 'header'): void {
    this.#options.metrics.connectionsDropped.inc({ reason })
    connection.socket.destroy()
  }

  #leave(connection: Connection, endpoint: string): void {
    if (this.#byEndpoint.get(endpoint) === connection) this.#byEndpoint.delete(endpoint)
    this.#waiting.delete(connection)
    for (const places of [this.#silent, this.#strangers, this.#members]) places.leave(connection)
    const own = connection.member === undefined ? undefined : this.#byMember.get(connection.member)
    if (own?.delete(connection) === true && own.size === 0) this.#byMember.delete(connection.member!)
  }
}

/** The connection whose last progress is oldest. */
function leastWorth(connections: Iterable<Connection>): Connection | undefined {
  const worthOf = ({ movedAtMs, requestsUnderWay }: Connection) =>
    movedAtMs + (requestsUnderWay > 0 ? UNDER_WAY_MS : 0)
  return leastOf(connections, worthOf)
}

function endpointOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress} ${remotePort}`
}
