import { join } from 'node:path'
import { z } from 'zod'
import { ConfigError } from '../../core/config.ts'
import { readOwnFile, replaceFile } from '../../core/data-folder.ts'
import { isNewer } from '../../core/format-version.ts'
import { TRACKERS_MAX, trackerAddress } from '../../core/join-string.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { clusterIdSchema } from '../../core/tracker-api.ts'
import type { ClientOptions } from '../client.ts'

/** In the data folder: where `shoal join` found the cluster. The node starts from it; it has no secret. */
export const JOINED_FILE = 'cluster.json'

const JOINED_VERSION = 1
/** Newer versions keep these members, so that a node stays itself after a downgrade. */
const joinedSchema = z.object({
  version: z.int().positive(),
  cluster: clusterIdSchema,
  /** `host:port`; the first is the one that took this node in. */
  trackers: z.array(trackerAddress).min(1).max(TRACKERS_MAX),
  /** The authority that the join string pinned. */
  authorityPem: z.string().max(64 * 1024),
})

export interface JoinedCluster {
  cluster: ClusterId
  trackers: string[]
  authorityPem: string
}

/** @returns undefined before `shoal join` @throws ConfigError if it is damaged, DataFolderError */
export function readJoined(dataDir: string): JoinedCluster | undefined {
  const path = join(dataDir, JOINED_FILE)
  const text = readOwnFile(path)
  if (text === undefined) return undefined
  let content: unknown
  try {
    content = JSON.parse(text)
    return joinedSchema.parse(content) as JoinedCluster
  } catch (cause) {
    if (isNewer(content, JOINED_VERSION)) {
      const hint = 'Install the version that wrote it, or a newer one. Nothing was changed.'
      throw new ConfigError(`a newer Shoal wrote ${path}`, { cause, hint })
    }
    const hint = 'Run `shoal leave`, then `shoal join` with a new join string.'
    throw new ConfigError(`${path} is damaged`, { cause, hint })
  }
}

export function writeJoined(dataDir: string, { cluster, trackers, authorityPem }: JoinedCluster): void {
  const record = { version: JOINED_VERSION, cluster, trackers, authorityPem }
  replaceFile(join(dataDir, JOINED_FILE), `${JSON.stringify(record, null, 2)}\n`)
}

export function trackerUrlsOf({ trackers }: Pick<JoinedCluster, 'trackers'>): string[] {
  return trackers.map((address) => `https://${address}`)
}

export interface KnownTracker {
  /** Several of one cluster are separated by commas. */
  trackerUrl: string | undefined
  trackerCaPem: string | undefined
}

/** The trackers of the configuration, else of `shoal join`, whose authority alone counts: the join string pinned it. */
export function trackerOf(
  options: Partial<KnownTracker> & Pick<ClientOptions, 'dataDir'>,
): KnownTracker & { otherTrackerUrls: string[]; isPinned: boolean } {
  const { trackerUrl, trackerCaPem, dataDir } = options
  const joined = trackerUrl === undefined ? readJoined(dataDir) : undefined
  const [first, ...otherTrackerUrls] =
    joined === undefined ? (trackerUrl?.split(',') ?? []) : trackerUrlsOf(joined)
  const authority =
    joined === undefined
      ? { trackerCaPem, isPinned: false }
      : { trackerCaPem: joined.authorityPem, isPinned: true }
  return { trackerUrl: first, otherTrackerUrls, ...authority }
}
