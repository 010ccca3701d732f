import type { TrackerParts } from './parts.ts'
import { PULL_KEPT_MS } from './pull/pull-certificate.ts'

/** What is pruned is hours or months old. */
const PRUNE_INTERVAL_MS = 10 * 60_000
/** How long the audit log reaches back. */
export const AUDIT_KEPT_MS = 90 * 24 * 3600 * 1000

type Pruned = Pick<TrackerParts, 'store' | 'clusters' | 'revocations' | 'log' | 'nowMs'>

/** Forgets what has ended, now and then: pulls, audit entries, convictions, previous authorities. @returns what stops it */
export function pruneRegularly({ store, clusters, revocations, log, nowMs }: Pruned): () => Promise<void> {
  const prune = async () => {
    try {
      await store.prune({ pulls: nowMs() - PULL_KEPT_MS, audit: nowMs() - AUDIT_KEPT_MS })
      await clusters.withdrawEnded(nowMs())
      await revocations.clearEnded(nowMs())
    } catch (error) {
      log.error({ err: error }, 'old records could not be removed')
    }
  }
  const timer = setInterval(prune, PRUNE_INTERVAL_MS)
  timer.unref()
  return async () => clearInterval(timer)
}
