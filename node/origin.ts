import type { RecentLog } from '../core/recent-log.ts'

/** Who started the node, and from what, for commands that look at it. */
export interface Origin {
  program: 'node' | 'up'
  /** The file with its settings; absent: none. */
  configFile?: string | undefined
  /** What it logged lately. */
  recentLog?: RecentLog | undefined
}
