import type { TLSSocket } from 'node:tls'
import type { z } from 'zod'
import type { JoinResponse, joinRequest } from '../../core/join-api.ts'
import { type ClusterId, nodeIdOf } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import { WIRE_VERSION_KNOWN, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { NODE_CERTIFICATE_SECONDS } from '../authority/cluster-authority.ts'
import { usedUp } from '../authority/join-tokens.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import { issueLinkCertificate } from '../authority/link-certificate.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { callerOn, offRecord } from './caller.ts'
import { sourceOf } from './caller-source.ts'

/**
 * A node joins its cluster with the join token, or renews over the connection that its certificate opened, with the same
 * key and no token. Only nodes on record as joined may renew: a certificate alone may come from a stolen authority. Joins
 * are counted, because each new key takes a row of the store; a known key keeps its row.
 * @throws RefusedError JOIN_REFUSED, JOIN_TOKEN_EXPIRED, JOIN_TOKEN_USED_UP, JOIN_TOKEN_REVOKED, KEY_MISMATCH, NODE_REVOKED, CERTIFICATE_REQUIRED, CERTIFICATE_REFUSED,
 *   REQUESTS_TOO_MANY, …;
 *   InvalidInputError
 */
export async function joinNode(
  parts: TrackerParts,
  socket: TLSSocket,
  { joinToken, publicKey, wire }: z.output<typeof joinRequest>,
): Promise<JoinResponse> {
  const nowMs = parts.nowMs()
  const spki = checkedP256Spki(Buffer.from(publicKey, 'base64url'))
  const node = nodeIdOf(spki)
  const isRenewal = joinToken === undefined
  const isMember = (of: ClusterId) => parts.store.hasNode(of, node)
  const shown = isRenewal
    ? { cluster: renewingCluster(parts, socket, node) }
    : await parts.joinTokens.check(joinToken, nowMs, isMember)
  const { cluster } = shown
  if (parts.revocations.isNodeRevoked(cluster.cluster, node)) {
    throw new RefusedError('NODE_REVOKED', "this node's key is barred from joining")
  }
  const address = sourceOf(socket)
  if (isRenewal) parts.certificateLimits.enter(`${cluster.cluster}/${node}`, nowMs)()
  // Joins do not show that the caller has the key: they spend nothing of what the node itself needs.
  else if (await isMember(cluster.cluster)) {
    parts.certificateLimits.enter(`again ${cluster.cluster}/${node}`, nowMs)()
  } else parts.joinLimits.enter(networkOf(address), cluster.cluster, nowMs)
  const claims = { kind: 'node', cluster: cluster.cluster, node } as const
  const validForSeconds = NODE_CERTIFICATE_SECONDS
  const issued = cluster.authorities[0]!.issue({ claims, spki, nowMs, validForSeconds })
  const hasLinks = wire >= WIRE_VERSION_LINKS
  const linkCertificate = hasLinks ? issueLinkCertificate(cluster, { node, spki, nowMs }) : undefined
  const record = { cluster: cluster.cluster, node, address, joinedAtMs: nowMs, renewedAtMs: nowMs, wire }
  const action = isRenewal ? 'node certificate renewed' : 'node joined'
  const audit = { atMs: nowMs, actor: `node ${node}`, action, cluster: cluster.cluster, target: node }
  if ('id' in shown) {
    if (!(await parts.store.putNode(record, audit, shown.id))) throw usedUp()
  } else if (!(await parts.store.renewNode(record, audit))) throw offRecord()
  return {
    cluster: cluster.cluster,
    node,
    ...issued,
    authorities: cluster.trust.authorities,
    registries: parts.kindsFound.news,
    wire: WIRE_VERSION_KNOWN,
    ...(linkCertificate && { linkCertificate }),
  }
}

function renewingCluster(parts: TrackerParts, socket: TLSSocket, node: string) {
  const caller = callerOn(parts, socket)
  if (caller.node !== node)
    throw new RefusedError('KEY_MISMATCH', 'a renewal keeps the key of the certificate')
  return caller.cluster
}
