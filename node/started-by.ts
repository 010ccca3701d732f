import type { RecentLog } from '../core/recent-log.ts'
import type { NodeConfig } from './config.ts'

/** Which program started the node, and from what. */
export interface StartedBy {
  program: 'node' | 'up'
  /** Reads all settings again, for `reload`; default: they stay. Throws ConfigError */
  reread?: () => Readonly<NodeConfig>
  /** The file with its settings; absent: none. */
  configFile?: string | undefined
  /** What it logged lately. */
  recentLog?: RecentLog | undefined
}
