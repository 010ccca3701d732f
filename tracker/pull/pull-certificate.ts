import type { Cluster } from '../authority/cluster.ts'
import type { IssuedCertificate } from '../authority/cluster-authority.ts'
import { RefusedError } from '../errors.ts'
import type { PullRecord } from '../store/store.ts'

/** No certificate of a pull outlives its grant by more than this, however often it is renewed. */
export const PULL_SECONDS_MAX = 6 * 3600
/** How long pulls are kept. A node may report on a blob that it pulled within this time. */
export const PULL_KEPT_MS = 24 * 3600 * 1000
/** The tracker refuses a renewal that would last less. */
const PULL_SECONDS_MIN = 60

/**
 * Issues the pull's certificate for its key, blobs and grant time, valid from now on.
 * @throws RefusedError PULL_ENDED when the grant is too old
 */
export function issuePullCertificate(
  cluster: Cluster,
  pull: PullRecord,
  options: { nowMs: number; validForSeconds: number },
): IssuedCertificate {
  const { nowMs } = options
  const remainingSeconds = Math.floor((pull.grantedAtMs - nowMs) / 1000) + PULL_SECONDS_MAX
  if (remainingSeconds < PULL_SECONDS_MIN)
    throw new RefusedError('PULL_ENDED', 'the pull was granted too long ago')
  return cluster.authorities[0]!.issue({
    claims: {
      kind: 'pull',
      cluster: pull.cluster,
      node: pull.node,
      pullId: pull.pull,
      registry: pull.registry,
      repository: pull.repository,
      grantedAtSeconds: Math.floor(pull.grantedAtMs / 1000),
      ...(pull.tokenHash === null ? {} : { tokenHash: pull.tokenHash }),
      blobs: pull.blobs.map(({ digest }) => digest),
    },
    spki: pull.spki,
    nowMs,
    validForSeconds: Math.min(options.validForSeconds, remainingSeconds),
  })
}
