import { readFileSync } from 'node:fs'
import { type KeptIdentity, type KnownTracker, keptIdentity, trackerOf } from '../client/index.ts'
import type { NodeConfig } from './config.ts'

/** What can be known of a node without asking it: settings and data folder, for `shoal doctor`. */

/**
 * Which trackers the node talks to, and what it trusts for it.
 * @throws ConfigError, DataFolderError, and of the system if this user may not look
 */
export function knownTracker({
  dataDir,
  trackerUrl,
  trackerCaFile,
}: Readonly<NodeConfig>): KnownTracker & { otherTrackerUrls: string[]; isPinned: boolean } {
  const trackerCaPem = trackerCaFile === undefined ? undefined : readFileSync(trackerCaFile, 'utf8')
  return trackerOf({ dataDir, trackerUrl, ...(trackerCaPem !== undefined && { trackerCaPem }) })
}

/** @throws DataFolderError, and of the system if this user may not look */
export function knownIdentity({ dataDir }: Readonly<NodeConfig>): KeptIdentity {
  return keptIdentity(dataDir)
}
