import type { NodeId } from '../../core/metainfo.ts'
import type { DialOutcome, ReachResponse } from '../../core/reach-api.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import type { TrackerParts } from '../parts.ts'
import { dialBack } from '../swarm/dial-back.ts'
import type { Listing, PeerTable } from '../swarm/peer-table.ts'
import { dialPort } from '../swarm/port-trials.ts'
import { hasGrantOnRecord } from './granted.ts'

/** Swarms of the caller in which another node is looked for; the newest count. */
const SWARMS_LOOKED_AT_MAX = 64

/**
 * Dials the calling node back, and tells it of one other, with which it shares a blob that it was granted: as for
 * heartbeats, a node hears of no other without a grant on record. Only the caller is dialled: nobody makes the tracker knock at
 * somebody else's door. What is told of the other are the words of its heartbeats.
 * @throws TooManyRequestsError
 */
export function reach(
  parts: TrackerParts,
  caller: NodeCaller,
  { node }: { node?: NodeId | undefined },
): Promise<ReachResponse> {
  const { cluster } = caller.cluster
  const id = `${cluster}/${caller.node}`
  return parts.dialBacks.during({ id, address: caller.address }, parts.nowMs(), async () => {
    const table = parts.peers.of(cluster)
    const listed = table.listing(caller.node, parts.nowMs())
    const own = listed === undefined ? null : await tryCaller(caller, listed)
    // A port that was mended is handed out at once.
    if (own?.outcome === 'reached') table.tried(caller.node, own, true)
    const other = await otherOf(parts, table, caller, node)
    return { own, other: other ?? null, nodes: table.nodeCount }
  })
}

async function otherOf(
  parts: TrackerParts,
  table: PeerTable,
  caller: NodeCaller,
  node: NodeId | undefined,
): Promise<Listing | undefined> {
  for (const swarm of table.swarmsOf(caller.node, node).slice(-SWARMS_LOOKED_AT_MAX)) {
    if (!(await hasGrantOnRecord(parts, caller, swarm))) continue
    const nowMs = parts.nowMs()
    const listed =
      node === undefined ? table.latestOther(caller.node, swarm, nowMs) : table.listing(node, nowMs)
    if (listed !== undefined) return listed
  }
  return undefined
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
