import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { Conditions } from '../../core/conditions.ts'
import { removeFolder } from '../../core/data-folder.ts'
import { reasonOf } from '../../core/errors.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { TrackerRefusedError } from '../errors.ts'
import { type KnownTracker, trackerOf } from './joined-cluster.ts'
import { NodeIdentity, removeIdentity } from './node-identity.ts'
import { REGISTRIES_FILE } from './registry-settings.ts'
import { TrackerClient } from './tracker-client.ts'
import { TrackerWatch } from './tracker-watch.ts'

const BLOBS_FOLDER = 'blobs'

export interface LeaveOptions extends KnownTracker {
  /** Its lock is the caller's. */
  dataDir: string
  upstreamProxy?: UpstreamProxy | undefined
  log: Logger
}

export interface LeaveOutcome {
  /** Undefined: this machine was in none, or the identity was a copy. */
  cluster: ClusterId | undefined
  /**
   * `told`: it forgot this node. `knew`: it had before, or never knew it. `none`: there was no valid certificate.
   * `silent`: it does not answer.
   */
  tracker: 'told' | 'knew' | 'none' | 'silent'
  reason?: string
}

/**
 * Gives this node's identity back, and removes it and the node's blobs from this machine, even if the tracker does not
 * answer. A copied identity is only removed: giving it back is for the machine that it belongs to.
 */
export async function leaveCluster(options: LeaveOptions): Promise<LeaveOutcome> {
  const { dataDir } = options
  const outcome = await giveBack(await NodeIdentity.load(dataDir), options)
  rmSync(join(dataDir, REGISTRIES_FILE), { force: true })
  removeFolder(join(dataDir, BLOBS_FOLDER))
  // Last, so that a command that was interrupted can be run again.
  removeIdentity(dataDir)
  return outcome
}

async function giveBack(identity: NodeIdentity, options: LeaveOptions): Promise<LeaveOutcome> {
  const { cluster } = identity
  const current = identity.current()
  const tracker = trackerOf(options)
  const { trackerUrl } = tracker
  if (current === undefined || trackerUrl === undefined) return { cluster, tracker: 'none' }
  const { upstreamProxy, log } = options
  const conditions = new Conditions({ log })
  const watch = new TrackerWatch({ trackerUrl, conditions })
  const client = new TrackerClient({ ...tracker, upstreamProxy, conditions, watch })
  client.identify(current)
  try {
    await client.leave()
    return { cluster, tracker: 'told' }
  } catch (error) {
    const isKnown =
      error instanceof TrackerRefusedError &&
      ['CERTIFICATE_REFUSED', 'NODE_REVOKED'].includes(error.trackerCode)
    return isKnown ? { cluster, tracker: 'knew' } : { cluster, tracker: 'silent', reason: reasonOf(error) }
  } finally {
    await client.close()
  }
}
