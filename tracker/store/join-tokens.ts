import type { ClusterId } from '../../core/metainfo.ts'

/** One join token of a cluster. Ended ones stay for a while, so that whoever shows one is told why it is refused. */
export interface JoinTokenRecord {
  /** 16 hex digits, by chance. */
  id: string
  cluster: ClusterId
  /** SHA-256 (32 bytes) of the whole token, sealed. */
  sealedHash: Buffer
  createdAtMs: number
  /** Null: no end. */
  validUntilMs: number | null
  /** How many nodes may join with it; null: any number. */
  usesMax: number | null
  /** How many joined. */
  uses: number
  withdrawnAtMs: number | null
}

/** Ended tokens that are kept per cluster. */
export const ENDED_JOIN_TOKENS_MAX = 64

/** The part of the store for join tokens. */
export interface JoinTokenStore<AuditEntry> {
  /** Newest first, ended ones too. */
  joinTokens(cluster: ClusterId): Promise<JoinTokenRecord[]>
  /**
   * Also forgets the oldest ended tokens above ENDED_JOIN_TOKENS_MAX.
   * @param replaces withdraws all others of the cluster in the same step
   */
  addJoinToken(token: JoinTokenRecord, how: { replaces: boolean }, audit: AuditEntry): Promise<void>
  /** @returns false if the cluster has no such token, or it was withdrawn before */
  withdrawJoinToken(cluster: ClusterId, id: string, audit: AuditEntry): Promise<boolean>
}
