import { z } from 'zod'
import { isOfThisUser } from '../core/up-folders.ts'
import { shoalVersion } from '../core/version.ts'
import type { NodeConfig } from '../node/config.ts'
import type { LocalNode } from './local-node.ts'

/** The settings that the node of this machine runs with, as it tells them (node/local/settings.ts). */

export interface RunningSettings {
  program: 'node' | 'up'
  configFile: string | null
  settings: NodeConfig
  /** The node runs as this user, or as root: what it says may be acted upon with this user's rights. */
  isTrusted: boolean
}

/** How long a node may take to tell its settings. */
const PATIENCE_MS = 3_000
/** A node of another version may have other settings. */
const answerSchema = z.object({
  version: z.custom<string>((version) => version === shoalVersion()),
  program: z.enum(['node', 'up']),
  configFile: z.string().nullable(),
  settings: z.custom<NodeConfig>((value) => typeof (value as { dataDir?: unknown })?.dataDir === 'string'),
})

/** @returns undefined if no node of this version tells */
export async function runningSettings(node: LocalNode): Promise<RunningSettings | undefined> {
  const told = await node
    .ask('/v1/settings', answerSchema, { patienceMs: PATIENCE_MS })
    .catch(() => undefined)
  if (told === undefined) return undefined
  const { program, configFile, settings } = told
  return { program, configFile, settings, isTrusted: isOfThisUser(node.place ?? '') }
}
