import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { type CertificateClaims, claimsOf } from '../../core/certificate-claims.ts'
import { nodeIdOf } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import type { Cluster } from '../authority/cluster.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { sourceOf } from './caller-source.ts'

interface KnownCaller {
  /** SHA-256 fingerprint of the authority that verified the chain, which decides the cluster. */
  authority: string
  claims: CertificateClaims
  address: string
  spki: Buffer
  certificateEndsAtMs: number
}

/** The holder of a pull certificate: a stock client, which may ask for its torrent and nothing else. */
export interface PullCaller extends NodeCaller {
  pull: string
}

/** Each connection's certificate is read once for all its requests, because that costs more than a heartbeat. */
const callers = new WeakMap<TLSSocket, KnownCaller>()

type CallerParts = Pick<TrackerParts, 'clusters' | 'revocations' | 'nowMs'>

/**
 * The node on the other side of the connection.
 * @throws RefusedError CERTIFICATE_REQUIRED, CERTIFICATE_REFUSED, CERTIFICATE_KIND, NODE_REVOKED
 */
export function callerOn(parts: CallerParts, socket: TLSSocket): NodeCaller {
  const { cluster, claims, address, spki } = certifiedOn(parts, socket)
  if (claims.kind !== 'node') throw wrongKind(claims)
  return { cluster, node: claims.node, address, spki }
}

/** The caller, as far as its connection shows. */
export type ApiCaller =
  | { kind: 'member'; node: NodeCaller; key: string }
  | { kind: 'stockClient'; key: string }
  /** May join, and nothing else. */
  | { kind: 'stranger'; refusal: RefusedError; key: string }

/**
 * A member is a node that joined with a join token: a certificate alone may come from a stolen authority. `key` names the
 * caller for its limits: the node if it is on record, otherwise its network.
 */
export async function callerOf(
  parts: CallerParts & Pick<TrackerParts, 'store'>,
  socket: TLSSocket,
): Promise<ApiCaller> {
  try {
    const { cluster, claims, address, spki } = certifiedOn(parts, socket)
    const { cluster: id } = cluster
    const key = `${id}/${claims.node}`
    if (!(await parts.store.hasNode(id, claims.node))) throw offRecord()
    if (claims.kind === 'pull') return { kind: 'stockClient', key }
    if (claims.kind !== 'node') throw wrongKind(claims)
    return { kind: 'member', node: { cluster, node: claims.node, address, spki }, key }
  } catch (refusal) {
    if (!(refusal instanceof RefusedError)) throw refusal
    return { kind: 'stranger', refusal, key: networkOf(sourceOf(socket)) }
  }
}

export function offRecord(): RefusedError {
  return new RefusedError('CERTIFICATE_REFUSED', 'this node is not on record: it joins with the join token')
}

/**
 * The holder of a pull certificate on the other side of the connection. Does not check whether the pull is live.
 * @throws RefusedError as `callerOn`
 */
export function pullCallerOn(parts: CallerParts, socket: TLSSocket): PullCaller {
  const { cluster, claims, address, spki } = certifiedOn(parts, socket)
  if (claims.kind !== 'pull') throw wrongKind(claims)
  return { cluster, node: claims.node, address, spki, pull: claims.pullId }
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
  // The listener admits callers without a certificate, for joining, so the TLS verdict must be read here.
  const issuer = socket.authorized ? socket.getPeerCertificate(true).issuerCertificate : undefined
  if (issuer === undefined) throw foreign()
  const claims = claimsOf(certificate)
  // An attacker with an authority's key can certify any node's name, but has no key that fits that node's id.
  const spki = spkiOf(certificate)
  if (claims.kind === 'node' && nodeIdOf(spki) !== claims.node) {
    throw new RefusedError('CERTIFICATE_REFUSED', "the certificate's key is not the node's")
  }
  return {
    authority: issuer.fingerprint256,
    claims,
    address: sourceOf(socket),
    spki,
    certificateEndsAtMs: certificate.validToDate.getTime(),
  }
}

function spkiOf({ publicKey }: X509Certificate): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' })
}

function foreign(): RefusedError {
  return new RefusedError(
    'CERTIFICATE_REFUSED',
    'the certificate does not belong to a cluster of this tracker, or has ended',
  )
}
