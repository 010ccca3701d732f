import { X509Certificate } from 'node:crypto'
import type { OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect, type SecureContext, type TLSSocket } from 'node:tls'
import { claimsOf, linkNameOf } from '../../core/certificate-claims.ts'
import type { Defects } from '../../core/defects.ts'
import { ShoalError } from '../../core/errors.ts'
import { linkHolderOf } from '../../core/link-certificate.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { PeerRefusedError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { LinkHost, LinkParts } from './link-host.ts'
import { NodeLink } from './node-link.ts'
import { CONNECT_LATE_MS, HANDSHAKE_LATE_MS } from './peer-addresses.ts'
import { PeerLink } from './peer-link.ts'

/** TCP and TLS inside one site take milliseconds; a dead address must not hold a place for long. */
const DIAL_MS_MAX = 5_000
/** Bytes of one read from a dialled socket. The buffer is reused: fresh buffers are the main cost of receiving. */
const READ_BUFFER_BYTES = 64 * 1024

/** How a dial ends; once `onLink` was called, the link tells of its own end. */
interface DialEnds<Link> {
  onLink(link: Link): void
  /** Nothing came from the other side for so long that nobody should wait for it. The dial goes on. */
  onLate(): void
  /** @param isReached the other side answered, and refused or was refused */
  onFailed(error: Error, isReached: boolean): void
}

/**
 * Dials a peer for a swarm, with a connection of its own. The other side must present a serve certificate, or a pull
 * certificate for this blob, of the node that the tracker named.
 */
export function dialPeer(
  peer: Peer,
  options: DialEnds<PeerLink> & { host: LinkHost<PeerLink>; credential: PeerCredential },
): void {
  const { host, credential } = options
  const infoHash = peer.infoHash ?? host.swarm
  dial(peer, {
    ...options,
    name: infoHash,
    context: credential.context,
    defects: host.defects,
    check: (certificate) => checkPeer(certificate, peer, host),
    make: (socket) => new PeerLink(socket, { host, infoHash, isDialler: true }),
  })
}

/** Dials a node for a link. The other side must present the link certificate of the node that the tracker named. */
export function dialNode(
  peer: Peer,
  options: DialEnds<NodeLink> & { parts: LinkParts<NodeLink>; credential: PeerCredential },
): void {
  const { parts, credential } = options
  dial(peer, {
    ...options,
    name: linkNameOf(peer.node),
    context: credential.context,
    defects: parts.defects,
    check: (certificate) => {
      const claims = linkHolderOf(certificate)
      if (claims.node !== peer.node) throw new PeerRefusedError('another node answers at that address')
      if (parts.trust.isRevoked(claims)) throw new PeerRefusedError('revoked')
    },
    make: (socket) => new NodeLink(socket, { parts, isDialler: true }),
  })
}

interface DialOptions<Link> extends DialEnds<Link> {
  /** The SNI. */
  name: string
  context: SecureContext
  defects: Defects
  /** Throws if the other side's certificate is not the one that must answer. */
  check(certificate: X509Certificate): void
  make(socket: TLSSocket): Link
}

/** `onread` works on the dialling side only, so the downloading side dials where it can. */
function dial<Link extends { receive(chunk: Buffer): void }>(peer: Peer, options: DialOptions<Link>): void {
  let link: Link | undefined
  const received = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  const connection: ConnectionOptions & { onread: OnReadOpts } = {
    host: peer.address,
    port: peer.port,
    servername: options.name,
    secureContext: options.context,
    minVersion: 'TLSv1.3',
    // Set explicitly: an environment variable can change Node's default.
    rejectUnauthorized: true,
    checkServerIdentity: (_name, { raw }) => refusalOf(raw, options),
    onread: {
      buffer: received,
      callback: (bytes) => {
        link?.receive(received.subarray(0, bytes))
        return true
      },
    },
  }
  const socket = connect(connection)
  let [isConnected, isSilent, isOver] = [false, false, false]
  // Once: an error is followed by the end of the connection, and an address that failed twice is left alone for longer.
  const failed = (error: Error) => {
    clearTimeout(timer)
    clearTimeout(lateness)
    socket.destroy()
    if (!link && !isOver) options.onFailed(error, isConnected && !isSilent)
    isOver = true
  }
  const boundary = options.defects.boundary('peer_handshake', failed)
  const ended = (why: string) => boundary.callback(() => failed(new PeerRefusedError(why)))
  const timedOut = ended('no TLS handshake in time')
  const timer = setTimeout(() => {
    isSilent = true
    timedOut()
  }, DIAL_MS_MAX)
  timer.unref()
  // This process may have been busy: timers come before what was received, and `setImmediate` after it.
  const late = boundary.callback(() => {
    if (!isConnected && !socket.destroyed) options.onLate()
  })
  let lateness = setTimeout(() => setImmediate(late), CONNECT_LATE_MS)
  lateness.unref()
  socket.once('connect', () => {
    isConnected = true
    clearTimeout(lateness)
    lateness = setTimeout(
      boundary.callback(() => options.onLate()),
      HANDSHAKE_LATE_MS,
    )
    lateness.unref()
  })
  socket.once('error', boundary.callback(failed))
  socket.once('close', ended('closed before the handshake'))
  const connected = () => {
    clearTimeout(timer)
    clearTimeout(lateness)
    const made = options.make(socket)
    options.onLink(made)
    link = made
  }
  socket.once('secureConnect', boundary.callback(connected))
}

function refusalOf(der: Buffer, { check, defects }: Pick<DialOptions<unknown>, 'check' | 'defects'>) {
  try {
    check(new X509Certificate(der))
    return undefined
  } catch (error) {
    return error instanceof ShoalError ? error : defects.note('peer_handshake', error)
  }
}

function checkPeer(certificate: X509Certificate, peer: Peer, host: LinkHost<PeerLink>): void {
  const claims = claimsOf(certificate)
  if (claims.node !== peer.node) throw new PeerRefusedError('another node answers at that address')
  if (claims.kind === 'pull') host.checkCertificate(claims)
  else if (claims.kind !== 'serve') throw new PeerRefusedError(`a ${claims.kind} certificate serves nothing`)
  if (host.isRevoked(claims)) throw new PeerRefusedError('revoked or banned')
}
