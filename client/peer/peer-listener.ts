import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type SecureContext, type TLSSocket } from 'node:tls'
import { claimsOf } from '../../core/certificate-claims.ts'
import type { Boundary, Defects } from '../../core/defects.ts'
import { ListenFailedError, type ShoalError } from '../../core/errors.ts'
import { nodeOfLinkName } from '../../core/link-certificate.ts'
import { type InfoHash, isInfoHash, type NodeId } from '../../core/metainfo.ts'
import { networkOf, plainAddress } from '../../core/network.ts'
import { type Place, whoGivesWay } from '../engine/link-places.ts'
import { PeerProtocolError, PeerRefusedError } from '../errors.ts'
import type { LinkHost } from './link-host.ts'
import { PeerLink } from './peer-link.ts'

/**
 * Accepted connections of the node, running TLS handshakes included: 48 KiB each. When full, a newcomer needs
 * another's place.
 */
export const ACCEPTED_MAX = 400
/**
 * Accepted connections in their TLS handshake. When full, the oldest of the network with the most ends: honest
 * handshakes take milliseconds.
 */
export const HANDSHAKING_MAX = 128
/** Time for one TLS handshake. It takes milliseconds; this bounds one that is never finished. */
const TLS_HANDSHAKE_MS_MAX = 10_000

/** The listener's view of a swarm. */
export interface ListeningSwarm extends LinkHost<PeerLink> {
  /** @returns false when all its places are taken and none gives way */
  makeRoom(network: string): boolean
  placeOf(link: PeerLink): Place
  attach(link: PeerLink, network: string): void
}

/** The listener's view of a connection that it has handed on. */
interface Held {
  readonly place: Place
  close(reason: ShoalError): void
}

/** Links of this node for all blobs, which other nodes dial. */
export interface ListeningNode {
  readonly node: NodeId
  /** Presents this node's link certificate; undefined until the tracker has issued one. */
  context(): SecureContext | undefined
  /** @throws ShoalError when the other side's certificate opens no link here */
  accept(socket: TLSSocket, network: string): Held & { receive(chunk: Buffer): void }
}

/** An accepted connection; `link` is set when its TLS handshake is finished. */
interface Accepted {
  socket: Socket
  network: string
  acceptedAtMs: number
  held?: Held
}

export interface PeerListenerOptions {
  host: string
  port: number
  /**
   * Accepted connections, at most ACCEPTED_MAX. When it falls, those that are there stay until they end by themselves or a
   * newcomer needs a place.
   */
  acceptedMax(): number
  /** The swarm that an SNI names, by its id or its alias, if this node has something of it. */
  swarmOf(name: InfoHash): ListeningSwarm | undefined
  /**
   * The credential that this node presents: its serve certificate. Never a pull certificate, since a dialler receives
   * it before showing its own. Undefined until the tracker has issued one, which a node requests when it joins; until
   * then nobody is let in.
   */
  context(): SecureContext | undefined
  links: ListeningNode
  onRefused(error: ShoalError, address: string | undefined): void
  defects: Defects
}

/**
 * Accepts peers: TLS 1.3 only, certificates of the cluster's authority on both sides. The SNI is this node's name for a
 * link, or an info-hash for a connection of one swarm. Tickets
 * are off, and a resumed session would be refused: an expired certificate passes in one. The context of an SNI
 * carries certificate and authorities; without one no handshake can finish.
 */
export class PeerListener {
  readonly #options: PeerListenerOptions
  readonly #server: Server
  /** Never listens: it is given each connection with its first bytes, because a silent one must not cost TLS memory. */
  readonly #tls: Server
  /**
   * Every accepted connection, and those still in their TLS handshake (oldest first), by the other side's address.
   */
  readonly #accepted = new Map<string, Accepted>()
  readonly #handshaking = new Set<Accepted>()

  constructor(options: PeerListenerOptions) {
    this.#options = options
    this.#server = createServer((socket) => this.#boundaryOf(socket).run(() => this.#beginHandshake(socket)))
    this.#tls = createTlsServer({
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      handshakeTimeout: TLS_HANDSHAKE_MS_MAX,
      SNICallback: (name, done) => this.#chooseContext(name, done),
    })
    this.#tls.on('secureConnection', (socket: TLSSocket) =>
      this.#boundaryOf(socket).run(() => this.#accept(socket)),
    )
    this.#tls.on('tlsClientError', (cause: Error, socket: TLSSocket) =>
      this.#boundaryOf(socket).fail(new PeerRefusedError('TLS handshake failed', { cause })),
    )
  }

  /** The boundary of a connection that has no link yet. */
  #boundaryOf(socket: Socket): Boundary {
    return this.#options.defects.boundary('peer_handshake', (reason) => {
      socket.destroy()
      this.#options.onRefused(reason, socket.remoteAddress)
    })
  }

  /** @throws ListenFailedError */
  listen(): Promise<number> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) =>
        reject(new ListenFailedError('peerListen', { host, port }, cause)),
      )
      this.#server.listen(port, host, () => {
        resolve((this.#server.address() as AddressInfo).port)
      })
    })
  }

  /** Ends every accepted connection too: an unfinished handshake must not delay the end of the program. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const { socket } of this.#accepted.values()) socket.destroy()
    })
  }

  #beginHandshake(socket: Socket): void {
    const endpoint = endpointOf(socket)
    const network = networkOf(plainAddress(socket.remoteAddress ?? ''))
    if (!this.#makeRoom(network)) return void socket.destroy()
    const accepted: Accepted = { socket, network, acceptedAtMs: Date.now() }
    this.#accepted.set(endpoint, accepted)
    this.#handshaking.add(accepted)
    socket.once('close', () => {
      this.#handshaking.delete(accepted)
      if (this.#accepted.get(endpoint) === accepted) this.#accepted.delete(endpoint)
    })
    if (this.#handshaking.size > HANDSHAKING_MAX) this.#endHandshake()
    if (!socket.destroyed) this.#awaitFirstBytes(socket)
  }

  #awaitFirstBytes(socket: Socket): void {
    socket.on('error', () => undefined)
    socket.setTimeout(TLS_HANDSHAKE_MS_MAX, () => this.#refuseSilent(socket))
    socket.once('readable', () => {
      socket.setTimeout(0)
      if (!socket.destroyed) this.#tls.emit('connection', socket)
    })
  }

  #refuseSilent(socket: Socket): void {
    this.#boundaryOf(socket).fail(new PeerRefusedError('a connection that begins no TLS'))
  }

  #makeRoom(network: string): boolean {
    const all = [...this.#accepted.values()].filter(({ socket }) => !socket.destroyed)
    if (all.length < this.#options.acceptedMax()) return true
    const placeOf = ({ held, network, acceptedAtMs }: Accepted): Place =>
      held?.place ?? { network, movedAtMs: acceptedAtMs, state: 'opening' }
    const leaving = whoGivesWay(all, { placeOf, network, nowMs: Date.now() })
    leaving?.held?.close(new PeerProtocolError('its place goes to a newcomer'))
    leaving?.socket.destroy()
    return leaving !== undefined
  }

  #endHandshake(): void {
    const byNetwork = Map.groupBy(this.#handshaking, ({ network }) => network)
    const [most] = [...byNetwork.values()].sort((a, b) => b.length - a.length)
    const [oldest] = most!
    this.#handshaking.delete(oldest!)
    if (oldest!.socket.bytesRead === 0) this.#refuseSilent(oldest!.socket)
    else oldest!.socket.destroy()
  }

  #chooseContext(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
    const boundary = this.#options.defects.boundary('peer_handshake', done)
    const context = boundary.run(() => {
      const found = this.#isForLinks(name) ? this.#options.links.context() : this.#contextOf(name)
      if (found === undefined) throw new PeerRefusedError('no such swarm here')
      return found
    })
    if (context) done(null, context)
  }

  /** The name is this node's own. */
  #isForLinks(name: string | false | undefined): boolean {
    return typeof name === 'string' && nodeOfLinkName(name) === this.#options.links.node
  }

  #contextOf(name: string): SecureContext | undefined {
    return isInfoHash(name) && this.#options.swarmOf(name) ? this.#options.context() : undefined
  }

  #accept(socket: TLSSocket): void {
    // Without a listener, a reset before the link has its own would be an unhandled error.
    socket.on('error', () => undefined)
    const accepted = this.#accepted.get(endpointOf(socket))
    if (accepted === undefined) return void socket.destroy()
    this.#handshaking.delete(accepted)
    const { network } = accepted
    if (socket.isSessionReused()) throw new PeerRefusedError('a resumed session')
    const link = this.#isForLinks(nameIn(socket))
      ? this.#options.links.accept(socket, network)
      : this.#acceptSwarm(socket, network)
    accepted.held = link
    socket.on('data', (chunk) => link.receive(chunk))
  }

  #acceptSwarm(socket: TLSSocket, network: string): ReturnType<ListeningNode['accept']> {
    const { swarm, infoHash } = this.#swarmFor(socket)
    if (!swarm.makeRoom(network)) throw new PeerProtocolError('too many connections')
    const link = new PeerLink(socket, { host: swarm, infoHash, isDialler: false })
    swarm.attach(link, network)
    return {
      get place() {
        return swarm.placeOf(link)
      },
      close: (reason) => link.close(reason),
      receive: (chunk) => link.receive(chunk),
    }
  }

  #swarmFor(socket: TLSSocket): { swarm: ListeningSwarm; infoHash: InfoHash } {
    const name = nameIn(socket)
    const infoHash = typeof name === 'string' && isInfoHash(name) ? name : undefined
    const swarm = infoHash && this.#options.swarmOf(infoHash)
    const certificate = socket.getPeerX509Certificate()
    if (!swarm || !certificate || !socket.authorized) throw new PeerRefusedError('no such swarm here')
    const claims = swarm.checkCertificate(claimsOf(certificate))
    if (swarm.isRevoked(claims)) throw new PeerRefusedError('revoked or banned')
    return { swarm, infoHash }
  }
}

/** The SNI. */
function nameIn(socket: TLSSocket): string | false | undefined {
  return (socket as TLSSocket & { servername?: string | false }).servername
}

function endpointOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
