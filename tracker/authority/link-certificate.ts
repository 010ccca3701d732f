import type { NodeId } from '../../core/metainfo.ts'
import type { Cluster } from './cluster.ts'
import type { IssuedCertificate } from './cluster-authority.ts'

/**
 * Lifetime of a link certificate: that of a serve certificate, for the same reason. A node that is cut off from the tracker
 * hears of no revocation, but its peers' certificates end within the hour.
 */
export const LINK_CERTIFICATE_SECONDS = 3600

/** @param spki of the node's own key (docs/decisions/0008-link-certificates.md) */
export function issueLinkCertificate(
  cluster: Cluster,
  { node, spki, nowMs }: { node: NodeId; spki: Buffer; nowMs: number },
): IssuedCertificate {
  return cluster.authorities[0]!.issue({
    claims: { kind: 'link', cluster: cluster.cluster, node },
    spki,
    nowMs,
    validForSeconds: LINK_CERTIFICATE_SECONDS,
  })
}
