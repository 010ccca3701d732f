import type { RenewResponse } from '../../core/tracker-api.ts'
import { RefusedError } from '../errors.ts'
import { type NodeCaller, type TrackerParts, trustOf } from '../parts.ts'
import { ownPull } from './live-pull.ts'
import { issuePullCertificate } from './pull-certificate.ts'

/**
 * A new certificate for the pull's own key, with its grant time and blobs, so that a download outlives a short
 * registry token: while a blob is missing and at most PULL_SECONDS_MAX after the grant.
 * @throws RefusedError PULL_UNKNOWN, PULL_REVOKED, SUBJECT_REVOKED, PULL_COMPLETE, PULL_ENDED
 */
export async function renewPull(parts: TrackerParts, caller: NodeCaller, id: string): Promise<RenewResponse> {
  const pull = await ownPull(parts, caller, id)
  if (pull.blobs.every(({ isComplete }) => isComplete)) {
    throw new RefusedError('PULL_COMPLETE', 'this node has all blobs of the pull')
  }
  const nowMs = parts.nowMs()
  const issued = issuePullCertificate(caller.cluster, pull, {
    nowMs,
    validForSeconds: parts.times.pullCertificateSeconds,
  })
  await parts.store.extendPull(id, nowMs + issued.validForSeconds * 1000, {
    atMs: nowMs,
    actor: `node ${caller.node}`,
    action: 'pull renewed',
    cluster: pull.cluster,
    target: id,
  })
  return { ...issued, trust: trustOf(parts, caller.cluster) }
}
