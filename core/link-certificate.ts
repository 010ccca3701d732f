import type { X509Certificate } from 'node:crypto'
import { CertificateClaimsError, claimsOf, type LinkClaims, linkNameOf } from './certificate-claims.ts'
import { isNodeId, type NodeId, nodeIdOf } from './metainfo.ts'

/** The node that a link's SNI names; undefined for every other name. */
export function nodeOfLinkName(name: string): NodeId | undefined {
  const [node = ''] = name.split('.')
  return isNodeId(node) && linkNameOf(node) === name ? node : undefined
}

/**
 * The node at the other end of a link. The chain must be verified already. Link certificates are for the node's own key, of
 * which its id is a hash: not even the holder of an authority's key can take the place of another node.
 * @throws CertificateClaimsError unless it is a link certificate for the key of the node that it names
 */
export function linkHolderOf(certificate: X509Certificate): LinkClaims {
  const claims = claimsOf(certificate)
  if (claims.kind !== 'link') throw new CertificateClaimsError(`a ${claims.kind} certificate opens no link`)
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  if (nodeIdOf(spki) !== claims.node)
    throw new CertificateClaimsError("the certificate's key is not the node's")
  return claims
}
