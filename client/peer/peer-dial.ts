import { X509Certificate } from 'node:crypto'
import type { OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import { claimsOf } from '../../core/certificate-claims.ts'
import { ShoalError } from '../../core/errors.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { PeerRefusedError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { LinkHost } from './link-host.ts'
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
    /** @param isReached the other side sent at least a byte */
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
  const failed = (error: Error) => {
    clearTimeout(timer)
    const isReached = socket.bytesRead > 0
    socket.destroy()
    if (!link) options.onFailed(error, isReached)
  }
  const boundary = host.defects.boundary('peer_handshake', failed)
  const ended = (why: string) => boundary.callback(() => failed(new PeerRefusedError(why)))
  const timer = setTimeout(ended('no TLS handshake in time'), DIAL_MS_MAX)
  timer.unref()
  socket.once('error', boundary.callback(failed))
  socket.once('close', ended('closed before the handshake'))
  const connected = () => {
    clearTimeout(timer)
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
