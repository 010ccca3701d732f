import type { SwarmId } from '../../core/metainfo.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import type { PullRecord } from '../store/store.ts'

/**
 * The caller's own pull, if not revoked. Pulls of other nodes count as unknown.
 * @throws RefusedError PULL_UNKNOWN, PULL_REVOKED, SUBJECT_REVOKED, BLOCKED
 */
export async function ownPull(parts: TrackerParts, caller: NodeCaller, id: string): Promise<PullRecord> {
  const pull = await parts.store.pull(id)
  const { cluster } = caller.cluster
  if (pull === undefined || pull.cluster !== cluster || pull.node !== caller.node) {
    throw new RefusedError('PULL_UNKNOWN', 'this node has no such pull')
  }
  if (parts.revocations.isPullRevoked(cluster, id))
    throw new RefusedError('PULL_REVOKED', 'the pull is revoked')
  parts.blocks.checkRepository(cluster, pull)
  if (pull.tokenKey !== null && parts.tokenKeys.isWithdrawn(pull.registry, pull.tokenKey))
    throw new RefusedError('PULL_REVOKED', "the key of the pull's token is withdrawn")
  if (pull.subject !== '' && parts.revocations.isSubjectBarred(cluster, pull.registry, pull.subject)) {
    throw new RefusedError('SUBJECT_REVOKED', "the token's subject is barred from pulling")
  }
  return pull
}

/**
 * The pull lets its node share this swarm.
 * @throws RefusedError SWARM_NOT_GRANTED, BLOCKED
 */
export function checkNames({ blocks }: TrackerParts, pull: PullRecord, swarm: SwarmId): void {
  const blob = pull.blobs.find((it) => it.swarm === swarm)
  if (blob === undefined) throw new RefusedError('SWARM_NOT_GRANTED', 'the pull does not name this swarm')
  blocks.checkDigest(pull.cluster, blob.digest)
}

/** Like `ownPull`, with a certificate that has not ended. @throws RefusedError also PULL_ENDED */
export async function livePull(parts: TrackerParts, caller: NodeCaller, id: string): Promise<PullRecord> {
  const pull = await ownPull(parts, caller, id)
  if (pull.expiresAtMs <= parts.nowMs())
    throw new RefusedError('PULL_ENDED', "the pull's certificate has ended")
  return pull
}
