import type { z } from 'zod'
import { mintPeerToken } from '../../core/peer-token.ts'
import { hasTokenKeys } from '../../core/registry-config.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { RenewResponse, renewRequest } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import { type TrackerParts, trustOf } from '../parts.ts'
import { issuePullCertificate } from '../pull/pull-certificate.ts'
import type { PullRecord } from '../store/store.ts'
import { ownPull } from './live-pull.ts'

export type RenewQuestion = z.output<typeof renewRequest>

/**
 * Issues a new certificate for the pull's own key, with its grant time and blobs, so that a download outlives a short
 * registry token. Works while a blob is missing, at most PULL_SECONDS_MAX after the grant. If the key that signed the
 * peer token is being withdrawn, the answer also has a peer token of the next key. Blobs that were blocked are left out.
 * @throws RefusedError BLOCKED, PULL_UNKNOWN, PULL_REVOKED, SUBJECT_REVOKED, PULL_COMPLETE, PULL_ENDED
 */
export async function renewPull(
  parts: TrackerParts,
  caller: NodeCaller,
  id: string,
  { wantsPeerToken }: RenewQuestion,
): Promise<RenewResponse> {
  const pull = await ownPull(parts, caller, id)
  if (pull.blobs.every(({ isComplete }) => isComplete)) {
    throw new RefusedError('PULL_COMPLETE', 'this node has all blobs of the pull')
  }
  const registry = parts.registries.get(pull.registry)
  const isMintable = registry !== undefined && !hasTokenKeys(registry.config) && pull.tokenKey === null
  const peerToken = wantsPeerToken && isMintable ? mintAgain(caller, pull) : null
  const tokenHash = peerToken === null ? pull.tokenHash : parseRegistryToken(peerToken).hash
  const nowMs = parts.nowMs()
  const blobs = pull.blobs.filter(({ digest }) => !parts.blocks.isDigestBlocked(pull.cluster, digest))
  if (blobs.length === 0) throw new RefusedError('BLOCKED', 'all blobs of the pull are blocked')
  const bound = { ...pull, tokenHash, blobs }
  const issued = issuePullCertificate(caller.cluster, bound, {
    nowMs,
    validForSeconds: parts.times.pullCertificateSeconds,
  })
  const expiresAtMs = nowMs + issued.validForSeconds * 1000
  await parts.store.extendPull(
    id,
    { expiresAtMs, tokenHash },
    {
      atMs: nowMs,
      actor: `node ${caller.node}`,
      action: 'pull renewed',
      cluster: pull.cluster,
      target: id,
    },
  )
  return { ...issued, trust: trustOf(parts, caller.cluster), peerToken }
}

/** Keeps the grant's time, because peers check that the token was valid then. */
function mintAgain({ cluster }: NodeCaller, { registry, repository, spki, grantedAtMs }: PullRecord): string {
  const claims = { cluster: cluster.cluster, registry, repository, spki, nowMs: grantedAtMs }
  return mintPeerToken(cluster.signingKey.peerTokenKey, claims)
}
