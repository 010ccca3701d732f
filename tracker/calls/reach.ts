import type { NodeId } from '../../core/metainfo.ts'
import type { DialOutcome, ReachResponse } from '../../core/reach-api.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import type { TrackerParts } from '../parts.ts'
import { dialBack } from '../swarm/dial-back.ts'
import type { Listing } from '../swarm/peer-table.ts'
import { dialPort } from '../swarm/port-trials.ts'

/**
 * Dials the calling node back, and tells it of one other. Only the caller is dialled: nobody makes the tracker knock at
 * somebody else's door. What is told of the other are the words of its heartbeats.
 * @throws TooManyRequestsError
 */
export function reach(
  parts: TrackerParts,
  caller: NodeCaller,
  { node }: { node?: NodeId | undefined },
): Promise<ReachResponse> {
  const { cluster } = caller.cluster
  return parts.dialBacks.during(`${cluster}/${caller.node}`, parts.nowMs(), async () => {
    const table = parts.peers.of(cluster)
    const listed = table.listing(caller.node, parts.nowMs())
    const own = listed === undefined ? null : await tryCaller(caller, listed)
    // A port that was mended is handed out at once.
    if (own?.outcome === 'reached') table.tried(caller.node, own, true)
    const nowMs = parts.nowMs()
    const other = node === undefined ? table.latestOther(caller.node, nowMs) : table.listing(node, nowMs)
    return { own, other: other ?? null, nodes: table.nodeCount }
  })
}

async function tryCaller(caller: NodeCaller, { port, wire }: Listing) {
  const at = { address: caller.address, port }
  const { authorities } = caller.cluster.trust
  const outcome = wire < WIRE_VERSION_LINKS ? await knock(at) : await dialBack(at, { ...caller, authorities })
  return { ...at, outcome }
}

/** A node without links has no certificate for a handshake that asks for no blob. */
async function knock(at: { address: string; port: number }): Promise<DialOutcome> {
  return (await dialPort(at)) ? 'reached' : 'silent'
}
