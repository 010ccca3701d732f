import type { Role } from '../../core/admin-api/call.ts'
import type { AuditEntry } from './audit.ts'

/** A token of an administrator, which the tracker knows by its hash alone. */
export interface AdminTokenRecord {
  name: string
  role: Role
  /** SHA-256 (64 hex digits) of the whole token, which has 256 random bits: there is nothing to guess. */
  hash: string
  createdAtMs: number
  endsAtMs: number
}

/** As it is stored: with itself, sealed. Null: no tracker of this version wrote it. */
export interface SealedAdminToken extends AdminTokenRecord {
  sealed: Buffer | null
}

export interface AdminTokenStore {
  /** Ordered by name, ended ones too. */
  adminTokens(): Promise<SealedAdminToken[]>
  /** Replaces one of the same name that has ended. @returns false if one of that name counts; then nothing changes */
  putAdminToken(token: SealedAdminToken, audit: AuditEntry): Promise<boolean>
  /** @returns false if there is none of that name */
  removeAdminToken(name: string, audit: AuditEntry): Promise<boolean>
}
