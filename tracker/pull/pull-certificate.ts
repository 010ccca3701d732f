import type { Cluster } from '../authority/cluster.ts'
import type { IssuedCertificate } from '../authority/cluster-authority.ts'
import { RefusedError } from '../errors.ts'
import type { PullRecord } from '../store/store.ts'

/** However often it is renewed, no certificate of a pull outlives its grant by more. */
export const PULL_SECONDS_MAX = 6 * 3600
/** Pulls are remembered for this long: who pulled a blob within it may report on it. */
export const PULL_KEPT_MS = 24 * 3600 * 1000
/** A renewal that would be over at once is refused instead. */
const PULL_SECONDS_MIN = 60

/**
 * The pull's certificate: its key, its blobs, its grant time, from now on.
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
