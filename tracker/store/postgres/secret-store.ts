import type { ClusterId } from '../../../core/metainfo.ts'
import { StoreConflictError } from '../../errors.ts'
import type { AuditEntry } from '../audit.ts'
import type { JoinTokenRecord } from '../join-tokens.ts'
import { ADMIN_CLUSTER, bytes, tokenKeyOf } from '../records.ts'
import type {
  AuthorityRecord,
  BatchKeyRecord,
  ClusterRecord,
  Reseal,
  SealedTokenKey,
  Store,
} from '../store.ts'
import { recorded } from './audit-rows.ts'
import type { DataKeyGuard } from './data-key.ts'
import { insertJoinTokenRow } from './member-rows.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import {
  authorityRows,
  clusterRows,
  insertAuthorityRow,
  insertBatchKeyRow,
  insertClusterRows,
  lockCluster,
  resealRows,
} from './secret-rows.ts'

/** The part of the store for keys. */
export function secretStore(db: PostgresDatabase, dataKey: DataKeyGuard) {
  async function removeAuthority(cluster: string, certificatePem: string, audit: AuditEntry): Promise<void> {
    await recorded(db, audit, async (sql) => {
      await sql`DELETE FROM authorities WHERE cluster = ${cluster} AND certificate_pem = ${certificatePem}`
    })
  }

  return {
    async sealedDataKey(): Promise<Buffer | undefined> {
      const [row] = await db.run((sql) => sql`SELECT value FROM meta WHERE name = 'sealed-data-key'`)
      return row === undefined ? undefined : bytes(row.value)
    },

    usesDataKey(sealed: Buffer): void {
      dataKey.uses(sealed)
    },

    async replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await resealRows(sql, reseal)
        await sql`UPDATE meta SET value = ${sealedDataKey} WHERE name = 'sealed-data-key'`
      })
      dataKey.uses(sealedDataKey)
    },

    async putSealedDataKey(sealed: Buffer): Promise<void> {
      const { count } = await db.run(
        (sql) => sql`INSERT INTO meta VALUES ('sealed-data-key', ${sealed}) ON CONFLICT DO NOTHING`,
      )
      if (count === 0) throw new StoreConflictError('the store has a data key')
    },

    adminAuthorities(): Promise<AuthorityRecord[]> {
      return db.run((sql) => authorityRows(sql, ADMIN_CLUSTER))
    },

    async addAdminAuthority(
      authority: AuthorityRecord,
      { replaces }: { replaces: boolean },
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        if (replaces) await sql`DELETE FROM authorities WHERE cluster = ${ADMIN_CLUSTER}`
        await insertAuthorityRow(sql, ADMIN_CLUSTER, authority)
      })
    },

    removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void> {
      return removeAuthority(ADMIN_CLUSTER, certificatePem, audit)
    },

    clusters(): Promise<ClusterRecord[]> {
      return db.reading(clusterRows)
    },

    async createCluster(
      cluster: ClusterRecord,
      joinToken: JoinTokenRecord,
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await insertClusterRows(sql, cluster)
        await insertJoinTokenRow(sql, joinToken)
      })
    },

    async addAuthority(
      cluster: ClusterId,
      authority: AuthorityRecord,
      { forgetsNodes }: { forgetsNodes: boolean },
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await lockCluster(sql, cluster)
        await insertAuthorityRow(sql, cluster, authority)
        if (forgetsNodes) await sql`DELETE FROM nodes WHERE cluster = ${cluster}`
      })
    },

    removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void> {
      return removeAuthority(cluster, certificatePem, audit)
    },

    async addBatchKey(
      cluster: ClusterId,
      key: BatchKeyRecord,
      { previousEndsAtMs }: { previousEndsAtMs: number },
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await lockCluster(sql, cluster)
        await sql`UPDATE batch_keys SET ends_at_ms = ${previousEndsAtMs}
          WHERE cluster = ${cluster} AND ends_at_ms IS NULL`
        await insertBatchKeyRow(sql, cluster, key)
      })
    },

    async removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await sql`DELETE FROM batch_keys WHERE cluster = ${cluster} AND public_key = ${publicKey}`
      })
    },

    async tokenKeys(): Promise<SealedTokenKey[]> {
      return (await db.run((sql) => sql`SELECT * FROM token_keys ORDER BY probed_at_ms`)).map(tokenKeyOf)
    },

    async putTokenKey(record: SealedTokenKey, audit: AuditEntry): Promise<void> {
      const { id, probedAtMs, trustedUntilMs, withdrawnAtMs, sealed } = record
      const key = JSON.stringify(record.key)
      await recorded(db, audit, async (sql) => {
        await dataKey.check(sql)
        await sql`INSERT INTO token_keys
          VALUES (${id}, ${key}, ${probedAtMs}, ${trustedUntilMs}, ${withdrawnAtMs}, ${sealed})
          ON CONFLICT (id) DO UPDATE SET key = excluded.key, probed_at_ms = excluded.probed_at_ms,
            trusted_until_ms = excluded.trusted_until_ms, withdrawn_at_ms = excluded.withdrawn_at_ms,
            sealed = excluded.sealed`
      })
    },

    async removeTokenKey(id: string, audit: AuditEntry): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await sql`DELETE FROM token_keys WHERE id = ${id}`
      })
    },
  } satisfies Partial<Store>
}
