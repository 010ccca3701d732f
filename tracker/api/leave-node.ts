import type { NodeCaller } from '../authority/node-caller.ts'
import type { TrackerParts } from '../parts.ts'

/**
 * A node gives its identity back: its certificates end, here at once and at other nodes with their next heartbeat, and the
 * tracker forgets it. The revocation comes first: a tracker that dies in between must not leave the certificates good.
 */
export async function leaveNode(parts: TrackerParts, { cluster, node }: NodeCaller): Promise<object> {
  const nowMs = parts.nowMs()
  const actor = `node ${node}`
  // Of several calls at once the first counts.
  if (!parts.revocations.isNodeRevoked(cluster.cluster, node))
    await parts.revocations.revoke(cluster.cluster, { kind: 'node', node, isLeft: true }, { actor, nowMs })
  parts.peers.of(cluster.cluster).forget(node)
  const audit = { atMs: nowMs, actor, action: 'node forgotten', cluster: cluster.cluster, target: node }
  await parts.store.removeNode(cluster.cluster, node, audit)
  return {}
}
