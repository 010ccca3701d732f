import type { NodeId } from '../../core/metainfo.ts'
import type { Cluster } from './cluster.ts'

/** A node, as its certificate and connection show it. */
export interface NodeCaller {
  /** Decided by the authority that verified the chain, never by text in the certificate. */
  cluster: Cluster
  node: NodeId
  /** Source address of the connection: where its peer listener is, whatever it claims. */
  address: string
}
