import type { Server, Socket } from 'node:net'
import { refuseSocket } from './error-response.ts'
import { ConnectionsTooManyError } from './errors.ts'
import type { SocketOwners } from './socket-owner.ts'

/**
 * Keeps one local user from taking all connections of a listener. Invariant: users other than root hold at most
 * `perUserMax` each and `connectionsMax - rootReserve` together, and unknown users count as one. So root (dockerd,
 * containerd, kubelet) always finds a place. Users are looked up only if there are more connections than one user may
 * have. From then on a connection is judged as soon as its user is known; until then it is served, and counts among the
 * listener's `UNJUDGED_CONNECTIONS_MAX`. If there is no place, a connection that has sent no request gives way: the
 * oldest of the user with the most.
 */

export interface ShareBounds {
  connectionsMax: number
  perUserMax: number
  rootReserve: number
}

/** Connections whose user is being looked up, in addition to those that a listener serves. */
export const UNJUDGED_CONNECTIONS_MAX = 2048
/** Refusals are logged this often, with their number. */
const LOG_INTERVAL_MS = 60_000
const ROOT = 0

export interface ShareLog {
  warn(facts: object, text: string): void
}

export interface SharesOptions {
  bounds: ShareBounds
  owners: SocketOwners
  log: ShareLog
  /** Handles a connection beyond its user's share; by default it is refused with 503. */
  onExcess?: (socket: Socket, uid: number | undefined) => void
}

export class UserShares {
  readonly #bounds: ShareBounds
  readonly #owners: SocketOwners
  readonly #log: ShareLog
  readonly #onExcess: (socket: Socket, uid: number | undefined) => void
  /** Connections by user; undefined: those whose user is unknown. */
  readonly #held = new Map<number | undefined, number>()
  readonly #unjudged = new Set<Socket>()
  readonly #hasAsked = new WeakSet<Socket>()
  /** Judged connections that have sent no request, the oldest first, with their users. */
  readonly #idle = new Map<Socket, number | undefined>()
  #judged = 0
  #open = 0
  #refused = 0
  #loggedAtMs = Number.NEGATIVE_INFINITY

  constructor({ bounds, owners, log, onExcess }: SharesOptions) {
    this.#bounds = bounds
    this.#owners = owners
    this.#log = log
    this.#onExcess = onExcess ?? refuseExcess
  }

  /** Judges every connection that the server takes, and bounds how many it takes. */
  watch(server: Server): void {
    server.maxConnections = this.#bounds.connectionsMax + UNJUDGED_CONNECTIONS_MAX
    const asks = (socket: Socket) => {
      this.#hasAsked.add(socket)
      this.#idle.delete(socket)
    }
    server.on('request', (request) => asks(request.socket))
    server.on('connect', (_request, socket) => asks(socket as Socket))
    server.on('connection', (socket: Socket) => {
      this.#open += 1
      this.#unjudged.add(socket)
      socket.once('close', () => {
        this.#open -= 1
        this.#unjudged.delete(socket)
      })
      if (this.#open <= this.#bounds.perUserMax) return
      for (const waiting of this.#unjudged) void this.#judge(waiting)
    })
  }

  async #judge(socket: Socket): Promise<void> {
    this.#unjudged.delete(socket)
    const uid = await this.#owners.userOf(socket)
    if (socket.destroyed) return
    if (this.#isFull(uid)) {
      this.#tell(uid)
      if (!this.#makeRoom(uid)) {
        this.#onExcess(socket, uid)
        return
      }
    }
    this.#count(uid, 1)
    if (!this.#hasAsked.has(socket)) this.#idle.set(socket, uid)
    socket.once('close', () => {
      this.#idle.delete(socket)
      this.#count(uid, -1)
    })
  }

  /** @returns whether there is room now */
  #makeRoom(uid: number | undefined): boolean {
    const greedy = this.#isShareFull(uid) ? uid : this.#greediest(uid !== ROOT)
    for (const [socket, owner] of this.#idle) {
      if (owner !== greedy) continue
      this.#idle.delete(socket)
      // It counts until it is closed a moment later.
      socket.destroy()
      return true
    }
    return false
  }

  #greediest(isOtherThanRoot: boolean): number | undefined {
    const users = [...this.#held].filter(([user]) => !isOtherThanRoot || user !== ROOT)
    return users.sort(([, held], [, other]) => other - held)[0]?.[0]
  }

  #isFull(uid: number | undefined): boolean {
    const { connectionsMax, rootReserve } = this.#bounds
    if (this.#judged >= connectionsMax) return true
    if (uid === ROOT) return false
    const others = this.#judged - (this.#held.get(ROOT) ?? 0)
    return this.#isShareFull(uid) || others >= connectionsMax - rootReserve
  }

  #isShareFull(uid: number | undefined): boolean {
    return uid !== ROOT && (this.#held.get(uid) ?? 0) >= this.#bounds.perUserMax
  }

  #count(uid: number | undefined, change: 1 | -1): void {
    this.#judged += change
    const held = (this.#held.get(uid) ?? 0) + change
    if (held === 0) this.#held.delete(uid)
    else this.#held.set(uid, held)
  }

  #tell(uid: number | undefined): void {
    this.#refused += 1
    const nowMs = performance.now()
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return
    const { code } = EXCESS
    this.#log.warn({ code, uid, refused: this.#refused }, 'a local user has too many connections to the node')
    this.#loggedAtMs = nowMs
    this.#refused = 0
  }
}

const EXCESS = new ConnectionsTooManyError('this user has too many connections to the node')

/** Stops reading at once, because a refused connection must not hold a place. */
function refuseExcess(socket: Socket): void {
  if (socket.bytesWritten === 0) refuseSocket(socket, EXCESS, 0)
  else socket.destroy()
}
