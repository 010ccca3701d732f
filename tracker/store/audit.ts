import type { ClusterId } from '../../core/metainfo.ts'

/** Who did what, and when. Has names and ids, never values. */
export interface AuditEntry {
  atMs: number
  /** `admin <start of its certificate's SHA-256>`, `token <name>`, `tracker`, `node <id>`, or `operator` (on the tracker's machine). */
  actor: string
  /** Constant text: `cluster created`, `pull granted`, … */
  action: string
  cluster: ClusterId | null
  /** The target: a node, pull, swarm or revocation. */
  target: string
}

/** What is absent lets everything through. */
export interface AuditFilter {
  limit: number
  /** Only entries below this number. */
  beforeSequence?: number | undefined
  actor?: string | undefined
  action?: string | undefined
  cluster?: string | undefined
  target?: string | undefined
}
