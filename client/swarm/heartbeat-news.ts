import type { HeartbeatResponse } from '../../core/tracker-api.ts'
import type { Grants } from '../membership/grants.ts'
import type { NodeLinks } from '../peer/node-links.ts'
import type { Swarms } from './swarms.ts'

/** Does what the tracker's answer to a heartbeat says about blobs and connections. */
export function takeNews(
  answer: HeartbeatResponse,
  { swarms, grants, links }: { swarms: Swarms; grants: Grants; links: NodeLinks },
): void {
  swarms.cache.heardHolders(answer.holders ?? [])
  for (const { swarm, peers } of answer.peers) swarms.get(swarm)?.links.addPeers(peers)
  for (const instruction of answer.instructions) {
    if (instruction.kind === 'epoch') swarms.get(instruction.swarm)?.raiseEpoch(instruction.epoch)
    else swarms.withdraw(instruction.swarm)
  }
  grants.renewOutdated()
  for (const swarm of swarms.running()) swarm.links.closeRevoked()
  links.recheck()
  swarms.renewBatches()
}
