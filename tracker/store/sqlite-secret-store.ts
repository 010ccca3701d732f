import type { ClusterId } from '../../core/metainfo.ts'
import { StoreConflictError } from '../errors.ts'
import type { SealedAdminToken } from './admin-tokens.ts'
import type { AuditEntry } from './audit.ts'
import type { JoinTokenRecord } from './join-tokens.ts'
import { ADMIN_CLUSTER, bytes } from './records.ts'
import { adminTokenRows, deleteAdminTokenRow, putAdminTokenRow } from './sqlite-admin-tokens.ts'
import { insertAuditRow } from './sqlite-audit.ts'
import { SqliteDatabase } from './sqlite-database.ts'
import { insertJoinTokenRow } from './sqlite-join-tokens.ts'
import {
  authorityRows,
  clusterRows,
  insertAuthorityRow,
  insertBatchKeyRow,
  insertClusterRows,
  resealRows,
} from './sqlite-secrets.ts'
import { putTokenKeyRow, tokenKeyRows } from './sqlite-token-keys.ts'
import type { AuthorityRecord, BatchKeyRecord, ClusterRecord, Reseal, SealedTokenKey } from './store.ts'
import { UnsharedStore } from './unshared-store.ts'

/** The part of the embedded store for keys and tokens. */
export class SqliteSecretStore extends UnsharedStore {
  protected readonly db: SqliteDatabase

  /**
   * @param path file, made if absent; `:memory:` for a store that ends with the process
   * @throws StoreUnusableError
   */
  constructor(path: string) {
    super()
    this.db = new SqliteDatabase(path)
  }

  async sealedDataKey(): Promise<Buffer | undefined> {
    const row = this.db.get("SELECT value FROM meta WHERE name = 'sealed-data-key'")
    return row === undefined ? undefined : bytes(row.value)
  }

  async replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void> {
    this.recorded('erasing', audit, () => {
      resealRows(this.db, reseal)
      this.db.run("UPDATE meta SET value = ? WHERE name = 'sealed-data-key'", sealedDataKey)
    })
  }

  async putSealedDataKey(sealed: Buffer): Promise<void> {
    this.db.durably(() => {
      const insert = "INSERT INTO meta (name, value) VALUES ('sealed-data-key', ?) ON CONFLICT DO NOTHING"
      if (this.db.run(insert, sealed).changes === 0) throw new StoreConflictError('the store has a data key')
    })
  }

  async adminAuthorities(): Promise<AuthorityRecord[]> {
    return authorityRows(this.db, ADMIN_CLUSTER)
  }

  async addAdminAuthority(
    authority: AuthorityRecord,
    { replaces }: { replaces: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    this.recorded('erasing', audit, () => {
      if (replaces) this.db.run('DELETE FROM authorities WHERE cluster = ?', ADMIN_CLUSTER)
      insertAuthorityRow(this.db, ADMIN_CLUSTER, authority)
    })
  }

  async removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void> {
    this.#removeAuthority(ADMIN_CLUSTER, certificatePem, audit)
  }

  async adminTokens(): Promise<SealedAdminToken[]> {
    return adminTokenRows(this.db)
  }

  async putAdminToken(token: SealedAdminToken, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => putAdminTokenRow(this.db, token))
  }

  async removeAdminToken(name: string, audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => deleteAdminTokenRow(this.db, name))
  }

  async clusters(): Promise<ClusterRecord[]> {
    return clusterRows(this.db)
  }

  async createCluster(cluster: ClusterRecord, joinToken: JoinTokenRecord, audit: AuditEntry): Promise<void> {
    this.recorded('durably', audit, () => {
      insertClusterRows(this.db, cluster)
      insertJoinTokenRow(this.db, joinToken)
    })
  }

  async addAuthority(
    cluster: ClusterId,
    authority: AuthorityRecord,
    { forgetsNodes }: { forgetsNodes: boolean },
    audit: AuditEntry,
  ): Promise<void> {
    this.recorded('durably', audit, () => {
      insertAuthorityRow(this.db, cluster, authority)
      if (forgetsNodes) this.db.run('DELETE FROM nodes WHERE cluster = ?', cluster)
    })
  }

  async removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void> {
    this.#removeAuthority(cluster, certificatePem, audit)
  }

  async addBatchKey(
    cluster: ClusterId,
    key: BatchKeyRecord,
    { previousEndsAtMs }: { previousEndsAtMs: number },
    audit: AuditEntry,
  ): Promise<void> {
    this.recorded('durably', audit, () => {
      const end = 'UPDATE batch_keys SET ends_at_ms = ? WHERE cluster = ? AND ends_at_ms IS NULL'
      this.db.run(end, previousEndsAtMs, cluster)
      insertBatchKeyRow(this.db, cluster, key)
    })
  }

  async removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void> {
    this.recorded('erasing', audit, () => {
      this.db.run('DELETE FROM batch_keys WHERE cluster = ? AND public_key = ?', cluster, publicKey)
    })
  }

  async tokenKeys(): Promise<SealedTokenKey[]> {
    return tokenKeyRows(this.db)
  }

  async putTokenKey(record: SealedTokenKey, audit: AuditEntry): Promise<void> {
    this.recorded('durably', audit, () => putTokenKeyRow(this.db, record))
  }

  async removeTokenKey(id: string, audit: AuditEntry): Promise<void> {
    this.recorded('atomically', audit, () => {
      this.db.run('DELETE FROM token_keys WHERE id = ?', id)
    })
  }

  #removeAuthority(cluster: string, certificatePem: string, audit: AuditEntry): void {
    this.recorded('erasing', audit, () => {
      const remove = 'DELETE FROM authorities WHERE cluster = ? AND certificate_pem = ?'
      this.db.run(remove, cluster, certificatePem)
    })
  }

  /** One step with its entry in the audit log; without one if `work` says that it changed nothing. */
  protected recorded<T>(how: 'atomically' | 'durably' | 'erasing', audit: AuditEntry, work: () => T): T {
    return this.db[how](() => {
      const result = work()
      if (result !== false) insertAuditRow(this.db, audit)
      return result
    })
  }
}
