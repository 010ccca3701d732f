import { randomBytes } from 'node:crypto'
import { UsageError } from '../core/errors.ts'
import { type ClusterId, isClusterId } from '../core/metainfo.ts'

const SECRET_BYTES = 32
const CLUSTER_ID_BYTES = 8

/** The 256 bits that seal a tracker's data key: `SHOALKEY-1-` and 43 characters of base64url. */
export function newUnlockKey(): string {
  return `SHOALKEY-1-${randomBytes(SECRET_BYTES).toString('base64url')}`
}

export function newClusterId(): ClusterId {
  return `c${randomBytes(CLUSTER_ID_BYTES).toString('hex')}` as ClusterId
}

/** `SHOAL-1-<cluster>-<43 characters>`; the tracker learns only its hash. */
export function newJoinToken(cluster: ClusterId): string {
  return `SHOAL-1-${cluster}-${randomBytes(SECRET_BYTES).toString('base64url')}`
}

const ADMIN_TOKEN = /^SHOALADMIN-1-[A-Za-z0-9_-]{43}$/

/** A token of an administrator: 256 random bits. The tracker learns only its hash. */
export function newAdminToken(): string {
  return `SHOALADMIN-1-${randomBytes(SECRET_BYTES).toString('base64url')}`
}

export function isAdminToken(text: string): boolean {
  return ADMIN_TOKEN.test(text)
}

/** @throws UsageError */
export function parseClusterId(text: string): ClusterId {
  if (!isClusterId(text)) {
    throw new UsageError(`not a cluster id: ${text.slice(0, 80)}`, {
      hint: 'A cluster id is c and 16 hex digits, as in the join token: SHOAL-1-<cluster id>-….',
    })
  }
  return text
}
