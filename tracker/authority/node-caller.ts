import type { NodeId } from '../../core/metainfo.ts'
import type { Cluster } from './cluster.ts'

/** A node, as seen in its certificate and connection. */
export interface NodeCaller {
  /** Follows from the authority that verified the chain, never from text in the certificate. */
  cluster: Cluster
  node: NodeId
  /** Source address of the connection. The tracker expects the peer listener there, whatever the node claims. */
  address: string
  /** DER SubjectPublicKeyInfo of its certificate; the node's own key, of which its id is a hash. */
  spki: Buffer
}
