import type { ClusterId } from '../core/metainfo.ts'
import type { ClusterTrustState } from './membership/cluster-trust.ts'
import type { Membership } from './membership/membership.ts'
import type { MemoryRecord } from './membership/node-memory.ts'
import type { Vouching } from './origin/vouching.ts'

/** What of a node survives its restart, beside its blobs. */
export interface Remembering {
  trust: ClusterTrustState
  membership: Membership
  vouching: Vouching
}

export function recordOf({ trust, membership, vouching }: Remembering): MemoryRecord {
  return {
    trust: trust.record(),
    serving: membership.servingRecord(),
    link: membership.links.record(),
    ...vouching.record(Date.now()),
  }
}

/** @param cluster whose member this node is: what another one said no longer counts */
export function recall(
  { trust, membership, vouching }: Remembering,
  memory: MemoryRecord | undefined,
  cluster: ClusterId | undefined,
): void {
  if (memory === undefined) return
  vouching.restore(memory, Date.now())
  if (memory.trust === null || memory.trust.cluster !== cluster) return
  trust.restore(memory.trust)
  if (memory.serving !== null) membership.restoreServing(memory.serving)
  if (memory.link !== null) membership.links.restore(memory.link)
}
