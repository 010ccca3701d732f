import { X509Certificate } from 'node:crypto'
import type { OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import { claimsOf } from '../../core/certificate-claims.ts'
import { ShoalError } from '../../core/errors.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { PeerRefusedError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { LinkHost } from './link-host.ts'
import { CONNECT_LATE_MS, HANDSHAKE_LATE_MS } from './peer-addresses.ts'
import { PeerLink } from './peer-link.ts'

/** TCP and TLS inside one site take milliseconds; a dead address must not hold a place for long. */
const DIAL_MS_MAX = 5_000
/** Bytes of one read from a dialled socket. The buffer is reused: fresh buffers are the main cost of receiving. */
const READ_BUFFER_BYTES = 64 * 1024

/**
 * Dials a peer for a swarm. `onread` works on the dialling side only, so the downloading side dials where it can. The
 * other side must present a serve certificate, or a pull certificate for this blob, of the node that the tracker
 * named.
 */
export function dialPeer(
  peer: Peer,
  options: {
    host: LinkHost<PeerLink>
    credential: PeerCredential
    onLink(link: PeerLink): void
    /** Nothing came from the other side for so long that nobody should wait for it. The dial goes on. */
    onLate(): void
    /** @param isReached the other side answered, and refused or was refused */
    onFailed(error: Error, isReached: boolean): void
  },
): void {
  const { host, credential } = options
  const infoHash = peer.infoHash ?? host.swarm
  let link: PeerLink | undefined
  const received = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  const connection: ConnectionOptions & { onread: OnReadOpts } = {
    host: peer.address,
    port: peer.port,
    servername: infoHash,
    secureContext: credential.context,
    minVersion: 'TLSv1.3',
    // Set explicitly: an environment variable can change Node's default.
    rejectUnauthorized: true,
    checkServerIdentity: (_name, certificate) => refusalOf(certificate.raw, peer, host),
    onread: {
      buffer: received,
      callback: (bytes) => {
        link?.receive(received.subarray(0, bytes))
        return true
      },
    },
  }
  const socket = connect(connection)
  let [isConnected, isSilent] = [false, false]
  const failed = (error: Error) => {
    clearTimeout(timer)
    clearTimeout(lateness)
    socket.destroy()
    if (!link) options.onFailed(error, isConnected && !isSilent)
  }
  const boundary = host.defects.boundary('peer_handshake', failed)
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
    const made = new PeerLink(socket, { host, infoHash, isDialler: true })
    options.onLink(made)
    link = made
  }
  socket.once('secureConnect', boundary.callback(connected))
}

function refusalOf(der: Buffer, peer: Peer, host: LinkHost<PeerLink>): Error | undefined {
  try {
    const claims = claimsOf(new X509Certificate(der))
    if (claims.node !== peer.node) return new PeerRefusedError('another node answers at that address')
    if (claims.kind === 'pull') host.checkCertificate(claims)
    else if (claims.kind !== 'serve')
      return new PeerRefusedError(`a ${claims.kind} certificate serves nothing`)
    return host.isRevoked(claims) ? new PeerRefusedError('revoked or banned') : undefined
  } catch (error) {
    return error instanceof ShoalError ? error : host.defects.note('peer_handshake', error)
  }
}
