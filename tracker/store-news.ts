import { isDefect } from '../core/defects.ts'
import type { AdminAuthorities } from './admin/admin-authority.ts'
import type { TrackerParts } from './parts.ts'
import { STORE_CHANGES, type StoreChange } from './store/changes.ts'

/** Pause between two attempts to read a change that could not be read. */
const AGAIN_MS = 1_000
/** A shared store is read again this often in any case, because a notice may be lost. */
export const STORE_REREAD_MS = 30_000
/** How often the clock is compared with the store's. */
const CLOCK_COMPARED_MS = 30_000

type Followed = Pick<
  TrackerParts,
  | 'store'
  | 'clusters'
  | 'adminTokens'
  | 'nodeMarks'
  | 'pauses'
  | 'revocations'
  | 'tokenKeys'
  | 'epochs'
  | 'credentialsSeen'
  | 'restored'
  | 'log'
  | 'defects'
> & {
  admins: AdminAuthorities
  /** Seals and opens with the store's newest data key. */
  followDataKey: () => Promise<void>
}

/**
 * Keeps this tracker's memory as the store is, whichever tracker changes that. One change is read at a time, and once for
 * all notices that came meanwhile.
 * @returns a function that stops it
 */
export async function followStore(parts: Followed): Promise<() => void> {
  if (!parts.store.isShared) return () => undefined
  const read: Record<StoreChange, () => Promise<unknown>> = {
    dataKey: parts.followDataKey,
    clusters: () => Promise.all([parts.clusters.reload(), parts.admins.reload()]),
    adminTokens: async () => {
      // What another tracker sealed anew opens with its new key only.
      await parts.followDataKey()
      await parts.adminTokens.reload()
    },
    nodeMarks: () => parts.nodeMarks.reload(),
    pauses: () => parts.pauses.reload(),
    revocations: () => parts.revocations.reload(),
    tokenKeys: async () => {
      await parts.followDataKey()
      await parts.tokenKeys.reload()
    },
    epochs: () => parts.epochs.refresh(),
    registriesNotOpen: async () => {
      for (const registry of await parts.store.registriesNotOpen()) parts.credentialsSeen.note(registry)
    },
    restore: () => parts.restored.reload(),
  }
  const due = new Set<StoreChange>()
  let isReading = false
  let isStopped = false
  let again: NodeJS.Timeout | undefined
  const readDue = async () => {
    if (isReading) return
    isReading = true
    try {
      for (const what of due) {
        if (isStopped) return
        due.delete(what)
        await read[what]().catch((error: unknown) => {
          due.add(what)
          throw error
        })
      }
    } catch (error) {
      if (isDefect(error)) parts.defects.note('tracker_job', error)
      parts.log.error({ err: error }, 'cannot read what another tracker changed')
      clearTimeout(again)
      again = setTimeout(() => void readDue(), AGAIN_MS).unref()
    } finally {
      isReading = false
    }
  }
  const onChange = (what: StoreChange) => {
    due.add(what)
    void readDue()
  }
  const timer = setInterval(() => STORE_CHANGES.forEach(onChange), STORE_REREAD_MS).unref()
  // Before the first call: what counts as open must not be decided by less than is known.
  await read.registriesNotOpen()
  await parts.store.watch(onChange)
  return () => {
    isStopped = true
    clearInterval(timer)
    clearTimeout(again)
  }
}

/** The store's clock, for all times that trackers of one store must agree about. */
export async function storeClock({ store }: Pick<TrackerParts, 'store'>, nowMs: () => number) {
  let offsetMs = await store.clockOffsetMs()
  const compare = () =>
    void store.clockOffsetMs().then(
      (newest) => {
        offsetMs = newest
      },
      // The database is away: the clock goes on as it did.
      () => undefined,
    )
  const timer = store.isShared ? setInterval(compare, CLOCK_COMPARED_MS).unref() : undefined
  return { nowMs: () => Math.round(nowMs() + offsetMs), stop: () => clearInterval(timer) }
}
