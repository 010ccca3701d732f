import type { TLSSocket } from 'node:tls'
import { claimsOf } from '../../core/certificate-claims.ts'
import { RefusedError } from '../errors.ts'
import type { NodeCaller, TrackerParts } from '../parts.ts'

interface KnownCaller extends NodeCaller {
  certificateEndsAtMs: number
}

/** One look at a connection's certificate serves all its requests: reading it costs more than a heartbeat. */
const callers = new WeakMap<TLSSocket, KnownCaller>()

/**
 * Who is on the other side of the connection.
 * @throws RefusedError CERTIFICATE_REQUIRED, CERTIFICATE_REFUSED, CERTIFICATE_KIND, NODE_REVOKED
 */
export function callerOn(
  parts: Pick<TrackerParts, 'clusters' | 'revocations' | 'nowMs'>,
  socket: TLSSocket,
): NodeCaller {
  const caller = callers.get(socket) ?? identify(parts, socket)
  callers.set(socket, caller)
  // A connection may outlive the certificate that opened it.
  if (caller.certificateEndsAtMs <= parts.nowMs()) {
    throw new RefusedError('CERTIFICATE_REFUSED', 'the node certificate has ended')
  }
  if (parts.revocations.isNodeRevoked(caller.cluster.cluster, caller.node)) {
    throw new RefusedError('NODE_REVOKED', 'this node is revoked')
  }
  return caller
}

function identify({ clusters }: Pick<TrackerParts, 'clusters'>, socket: TLSSocket): KnownCaller {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined)
    throw new RefusedError('CERTIFICATE_REQUIRED', 'a node certificate is required')
  // The listener lets callers without a certificate in, for joining; so the verdict is ours to read.
  const issuer = socket.authorized ? socket.getPeerCertificate(true).issuerCertificate : undefined
  const cluster = issuer === undefined ? undefined : clusters.byAuthority(issuer.fingerprint256)
  if (cluster === undefined) {
    throw new RefusedError(
      'CERTIFICATE_REFUSED',
      'the certificate is not of a cluster of this tracker, or has ended',
    )
  }
  const claims = claimsOf(certificate)
  if (claims.kind !== 'node') {
    throw new RefusedError('CERTIFICATE_KIND', `a ${claims.kind} certificate does not open the tracker's API`)
  }
  return {
    cluster,
    node: claims.node,
    address: plainAddress(socket.remoteAddress ?? ''),
    certificateEndsAtMs: certificate.validToDate.getTime(),
  }
}

/** An IPv4 caller of a dual-stack listener, without its IPv6 prefix (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}
