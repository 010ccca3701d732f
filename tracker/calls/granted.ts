import type { SwarmId } from '../../core/metainfo.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import type { TrackerParts } from '../parts.ts'
import { PULL_KEPT_MS } from '../pull/pull-certificate.ts'

/** Whether the node was granted the blob lately. What it says of itself proves nothing: it may name any swarm. */
export function hasGrantOnRecord(
  parts: TrackerParts,
  { cluster: { cluster }, node }: NodeCaller,
  swarm: SwarmId,
): Promise<boolean> {
  return parts.store.hasPullSince({ cluster, node, swarm }, parts.nowMs() - PULL_KEPT_MS)
}
