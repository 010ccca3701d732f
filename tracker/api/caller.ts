import type { X509Certificate } from 'node:crypto'
import { isIPv6 } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type CertificateClaims, claimsOf } from '../../core/certificate-claims.ts'
import { nodeIdOf } from '../../core/metainfo.ts'
import type { Cluster } from '../authority/cluster.ts'
import { RefusedError } from '../errors.ts'
import type { NodeCaller, TrackerParts } from '../parts.ts'

interface KnownCaller {
  /** SHA-256 fingerprint of the authority that verified the chain: it decides the cluster. */
  authority: string
  claims: CertificateClaims
  address: string
  certificateEndsAtMs: number
}

/** The holder of a pull certificate: a stock client, which calls for its torrent and nothing else. */
export interface PullCaller extends NodeCaller {
  pull: string
}

/** One look at a connection's certificate serves all its requests: reading it costs more than a heartbeat. */
const callers = new WeakMap<TLSSocket, KnownCaller>()

type CallerParts = Pick<TrackerParts, 'clusters' | 'revocations' | 'nowMs'>

/**
 * The node on the other side of the connection.
 * @throws RefusedError CERTIFICATE_REQUIRED, CERTIFICATE_REFUSED, CERTIFICATE_KIND, NODE_REVOKED
 */
export function callerOn(parts: CallerParts, socket: TLSSocket): NodeCaller {
  const { cluster, claims, address } = certifiedOn(parts, socket)
  if (claims.kind !== 'node') throw wrongKind(claims)
  return { cluster, node: claims.node, address }
}

/**
 * As `callerOn`, for a node that joined with a join token: a certificate alone may come from a stolen authority.
 * @throws RefusedError as `callerOn`
 */
export async function memberOn(
  parts: CallerParts & Pick<TrackerParts, 'store'>,
  socket: TLSSocket,
): Promise<NodeCaller> {
  const caller = callerOn(parts, socket)
  if (!(await parts.store.hasNode(caller.cluster.cluster, caller.node))) throw offRecord()
  return caller
}

export function offRecord(): RefusedError {
  return new RefusedError('CERTIFICATE_REFUSED', 'this node is not on record: it joins with the join token')
}

/**
 * The holder of a pull certificate on the other side of the connection; whether the pull is live is not decided here.
 * @throws RefusedError as `callerOn`
 */
export function pullCallerOn(parts: CallerParts, socket: TLSSocket): PullCaller {
  const { cluster, claims, address } = certifiedOn(parts, socket)
  if (claims.kind !== 'pull') throw wrongKind(claims)
  return { cluster, node: claims.node, address, pull: claims.pullId }
}

/** Names the caller for its limits: the node that its certificate proves, else the network that it comes from. */
export function callerKeyOn(parts: CallerParts, socket: TLSSocket): string {
  try {
    const { cluster, claims } = certifiedOn(parts, socket)
    return `${cluster.cluster}/${claims.node}`
  } catch {
    return networkOf(plainAddress(socket.remoteAddress ?? ''))
  }
}

function wrongKind({ kind }: CertificateClaims): RefusedError {
  return new RefusedError('CERTIFICATE_KIND', `a ${kind} certificate does not open this part of the API`)
}

function certifiedOn(parts: CallerParts, socket: TLSSocket): KnownCaller & { cluster: Cluster } {
  const caller = callers.get(socket) ?? identify(socket)
  callers.set(socket, caller)
  // A connection may outlive the certificate that opened it, and the authority that verified it.
  const cluster = parts.clusters.byAuthority(caller.authority)
  if (cluster === undefined) throw foreign()
  if (caller.certificateEndsAtMs <= parts.nowMs()) {
    throw new RefusedError('CERTIFICATE_REFUSED', 'the certificate has ended')
  }
  if (parts.revocations.isNodeRevoked(cluster.cluster, caller.claims.node)) {
    throw new RefusedError('NODE_REVOKED', 'this node is revoked')
  }
  return { ...caller, cluster }
}

function identify(socket: TLSSocket): KnownCaller {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined)
    throw new RefusedError('CERTIFICATE_REQUIRED', 'a certificate of a cluster is required')
  // The listener lets callers without a certificate in, for joining; so the verdict is ours to read.
  const issuer = socket.authorized ? socket.getPeerCertificate(true).issuerCertificate : undefined
  if (issuer === undefined) throw foreign()
  const claims = claimsOf(certificate)
  // Someone with an authority's key writes any node into a certificate; no key of theirs has that node's id.
  if (claims.kind === 'node' && nodeIdOf(spkiOf(certificate)) !== claims.node) {
    throw new RefusedError('CERTIFICATE_REFUSED', "the certificate's key is not the node's")
  }
  return {
    authority: issuer.fingerprint256,
    claims,
    address: plainAddress(socket.remoteAddress ?? ''),
    certificateEndsAtMs: certificate.validToDate.getTime(),
  }
}

function spkiOf({ publicKey }: X509Certificate): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' })
}

function foreign(): RefusedError {
  return new RefusedError(
    'CERTIFICATE_REFUSED',
    'the certificate is not of a cluster of this tracker, or has ended',
  )
}

/** An IPv4 caller of a dual-stack listener, without its IPv6 prefix (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}

/**
 * What is one caller among those without a certificate: an IPv4 address, or of an IPv6 address its first 64 bits, as
 * whoever has one has the 2^64 of its subnet (RFC 4291 §2.5.4, RFC 6177).
 */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.replace(/%.*$/, '').split('::')
  const before = groupsOf(head)
  const after = groupsOf(tail ?? '')
  const zeros = Array<string>(8 - before.length - after.length).fill('0')
  const prefix = [...before, ...zeros, ...after].slice(0, 4)
  return `${prefix.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}

/** The 16-bit groups of one side of `::`. A dotted quad at the end is two; which they are does not matter here. */
function groupsOf(side: string): string[] {
  if (side === '') return []
  return side.split(':').flatMap((group) => (group.includes('.') ? ['0', '0'] : [group]))
}
