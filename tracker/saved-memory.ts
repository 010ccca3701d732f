import { isDefect } from '../core/defects.ts'
import type { TrackerParts } from './parts.ts'
import { ACCEPTANCES_MAX } from './pull/acceptances.ts'
import { MEMBERSHIPS_MAX } from './pull/membership.ts'
import type { MemoryBounds } from './store/memory.ts'

/**
 * Saves what the tracker decides from in memory, off the path of any call, so that the first pull after a restart finds the
 * seeds and asks the registry for nothing that it has answered.
 */

/** How often the changes are saved; a killed tracker forgets the last ones, and nodes report them with a heartbeat. */
export const MEMORY_SAVE_MS = 2_000
/** Nodes saved at a time: 210 KB for one that holds as much as it may, so that no call waits long. */
export const PRESENCES_SAVED_MAX = 256

/** Nodes that are listed after a restart: above it they are listed with their next heartbeat. */
export const PRESENCES_RESTORED_MAX = 20_000

const BOUNDS: MemoryBounds = {
  presencesMax: PRESENCES_RESTORED_MAX,
  acceptancesMax: ACCEPTANCES_MAX,
  membershipsMax: MEMBERSHIPS_MAX,
}

type Remembered = Pick<
  TrackerParts,
  | 'store'
  | 'storedAnswers'
  | 'peers'
  | 'acceptances'
  | 'memberships'
  | 'revocations'
  | 'log'
  | 'defects'
  | 'nowMs'
>

/** Takes up what was saved. Nodes that were revoked in the meantime are not listed. */
export async function restoreMemory(parts: Remembered): Promise<void> {
  const nowMs = parts.nowMs()
  const { storedAnswers } = parts
  const { presences, acceptances, memberships } = await parts.store.memory(nowMs, BOUNDS)
  for (const presence of presences) {
    const { cluster, node } = presence
    if (!parts.revocations.isNodeRevoked(cluster, node)) parts.peers.restore(presence, nowMs)
  }
  parts.acceptances.restore(storedAnswers.genuineAcceptances(acceptances), nowMs)
  parts.memberships.restore(storedAnswers.genuineMemberships(memberships), nowMs)
}

/** @returns a function that saves the rest and stops it */
export function saveMemoryRegularly(parts: Remembered): () => Promise<void> {
  const save = async (nodesMax: number) => {
    try {
      const change = {
        ...parts.peers.takeUnsaved(nodesMax),
        acceptances: parts.storedAnswers.markedAcceptances(parts.acceptances.takeUnsaved()),
        memberships: parts.storedAnswers.markedMemberships(parts.memberships.takeUnsaved()),
      }
      if (Object.values(change).some(({ length }) => length > 0)) await parts.store.saveMemory(change)
    } catch (error) {
      if (isDefect(error)) parts.defects.note('tracker_job', error)
      parts.log.error({ err: error }, 'cannot save what is remembered; a restart forgets it')
    }
  }
  const timer = setInterval(() => void save(PRESENCES_SAVED_MAX), MEMORY_SAVE_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    return save(Number.POSITIVE_INFINITY)
  }
}
