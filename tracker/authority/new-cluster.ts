import { randomBytes } from 'node:crypto'
import type { ClusterId } from '../../core/metainfo.ts'
import type { AuditEntry } from '../store/audit.ts'
import type { JoinTokenRecord } from '../store/join-tokens.ts'
import type { ActedBy } from '../store/store.ts'
import { placeOf, type Sealer } from './sealer.ts'

/** What an administrator makes: clusters and join tokens. The tracker learns only hashes of tokens. */

const TOKEN_ID_BYTES = 8

export interface NewCluster {
  cluster: ClusterId
  name: string
  /** Its first. */
  joinToken: NewJoinToken
}

export interface NewJoinToken {
  /** SHA-256 (64 hex digits) of the whole token. */
  hash: string
  /** Absent: until it is withdrawn. */
  validForSeconds?: number | undefined
  /** How many nodes may join with it; absent: any number. */
  usesMax?: number | undefined
}

export function sealJoinToken(
  sealer: Sealer,
  cluster: ClusterId,
  { hash, validForSeconds, usesMax }: NewJoinToken,
  nowMs: number,
): JoinTokenRecord {
  return {
    id: randomBytes(TOKEN_ID_BYTES).toString('hex'),
    cluster,
    sealedHash: sealer.seal(placeOf('joinToken', cluster), Buffer.from(hash, 'hex')),
    createdAtMs: nowMs,
    validUntilMs: validForSeconds === undefined ? null : nowMs + validForSeconds * 1000,
    usesMax: usesMax ?? null,
    uses: 0,
    withdrawnAtMs: null,
  }
}

export function auditOf(
  { actor, nowMs }: ActedBy,
  action: string,
  cluster: ClusterId,
  target: string,
): AuditEntry {
  return { atMs: nowMs, actor, action, cluster, target }
}
