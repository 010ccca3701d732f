import { z } from 'zod'

/**
 * What nodes carry for a tracker that is restored from a backup: copies, signed by the tracker, of what it revoked. Parts of
 * the heartbeat (tracker-api.ts).
 */

/** Copies of revocations, and of changes of the signing key, that a node carries, and so of those in one heartbeat. */
export const REVOCATION_COPIES_MAX = 2048
/** Characters of one copy: its node or pull, its times, and whom else it bars, sealed. */
export const REVOCATION_COPY_CHARS_MAX = 2048

export const revocationCopy = z.string().max(REVOCATION_COPY_CHARS_MAX)

/** Fields of a revocation: its number, and the copy to carry. Absent: an older tracker. */
export const copyFields = { sequence: z.int().nonnegative().optional(), copy: revocationCopy.optional() }

/** Fields of the answer to a heartbeat. */
export const restoreFields = {
  /** While the signing key changes: a copy for the node to carry. */
  keyChange: revocationCopy.optional(),
  /**
   * The tracker was restored from a backup: the node tells its copies of revocations above this number, and of changes of
   * the signing key, in its next heartbeat.
   */
  wantsCopiesFrom: z.int().nonnegative().optional(),
  /** The tracker was restored and waits for its operator: it grants nothing, and what it trusts may be outdated. */
  isRestored: z.boolean().optional(),
}
