import type { AdminAuthorities } from './admin/admin-authority.ts'
import type { TrackerParts } from './parts.ts'
import { PULL_KEPT_MS } from './pull/pull-certificate.ts'

/** What is pruned is hours or months old. */
const PRUNE_INTERVAL_MS = 10 * 60_000
/** Pulls of one node that are remembered, beside those that have not ended: 60 to 70 KiB each with 128 blobs. */
export const PULLS_KEPT_PER_NODE_MAX = 1024
/** How long the audit log reaches back. */
export const AUDIT_KEPT_MS = 90 * 24 * 3600 * 1000

type Pruned = Pick<TrackerParts, 'store' | 'clusters' | 'revocations' | 'log' | 'nowMs'> & {
  admins: AdminAuthorities
}

/** Forgets what has ended, now and then: pulls, audit entries, convictions, previous authorities. @returns what stops it */
export function pruneRegularly({
  store,
  clusters,
  admins,
  revocations,
  log,
  nowMs,
}: Pruned): () => Promise<void> {
  const prune = async () => {
    try {
      const now = nowMs()
      await store.prune({
        pulls: now - PULL_KEPT_MS,
        audit: now - AUDIT_KEPT_MS,
        now,
        pullsPerNodeMax: PULLS_KEPT_PER_NODE_MAX,
      })
      await clusters.withdrawEnded(nowMs())
      await admins.withdrawEnded(nowMs())
      await revocations.clearEnded(nowMs())
    } catch (error) {
      log.error({ err: error }, 'old records could not be removed')
    }
  }
  const timer = setInterval(prune, PRUNE_INTERVAL_MS)
  timer.unref()
  return async () => clearInterval(timer)
}
