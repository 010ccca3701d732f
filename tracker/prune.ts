import { isDefect } from '../core/defects.ts'
import type { AdminAuthorities } from './admin/admin-authority.ts'
import type { TrackerConfig } from './config.ts'
import type { TrackerParts } from './parts.ts'
import { PULL_KEPT_MS } from './pull/pull-certificate.ts'

/** Pruned records are hours or months old, so the interval may be long. */
const PRUNE_INTERVAL_MS = 10 * 60_000
/** Ended pulls that are kept per node: 60 to 70 KiB each with 128 blobs. */
export const PULLS_KEPT_PER_NODE_MAX = 1024
/** How long after its end a join token is known, to say why it is refused. */
export const ENDED_JOIN_TOKEN_KEPT_MS = 7 * 24 * 3600 * 1000
/** How long entries of the audit log are kept. */
export const AUDIT_KEPT_MS = 90 * 24 * 3600 * 1000

type Pruned = Pick<
  TrackerParts,
  'store' | 'clusters' | 'revocations' | 'tokenKeys' | 'log' | 'defects' | 'nowMs'
> & { admins: AdminAuthorities }

/** Regularly forgets ended pulls, silent nodes, old audit entries, convictions, previous authorities and token keys. @returns a function that stops it */
export function pruneRegularly(
  { store, clusters, admins, revocations, tokenKeys, log, defects, nowMs }: Pruned,
  { silentNodeHoursMax }: Pick<TrackerConfig, 'silentNodeHoursMax'>,
): () => Promise<void> {
  const prune = async () => {
    try {
      const now = nowMs()
      const { nodes } = await store.prune({
        pulls: now - PULL_KEPT_MS,
        audit: now - AUDIT_KEPT_MS,
        nodes: now - silentNodeHoursMax * 3600 * 1000,
        joinTokens: now - ENDED_JOIN_TOKEN_KEPT_MS,
        now,
        pullsPerNodeMax: PULLS_KEPT_PER_NODE_MAX,
      })
      if (nodes > 0) log.info({ nodes }, 'nodes were silent for too long and are forgotten')
      await clusters.withdrawEnded(nowMs())
      await admins.withdrawEnded(nowMs())
      await revocations.clearEnded(nowMs())
      await tokenKeys.forgetEnded()
    } catch (error) {
      if (isDefect(error)) defects.note('tracker_job', error)
      log.error({ err: error }, 'cannot remove old records')
    }
  }
  const timer = setInterval(prune, PRUNE_INTERVAL_MS)
  timer.unref()
  return async () => clearInterval(timer)
}
