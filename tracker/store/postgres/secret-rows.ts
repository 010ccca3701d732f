import type { ClusterId } from '../../../core/metainfo.ts'
import { StoreConflictError } from '../../errors.ts'
import { ADMIN_CLUSTER, authorityOf, batchKeyOf, bytes, clusterOf } from '../records.ts'
import type { AuthorityRecord, BatchKeyRecord, ClusterRecord, Reseal } from '../store.ts'
import type { Query } from './sql.ts'

/** Rows with sealed values: clusters' authorities, batch keys and join tokens, the admin authorities and tokens, and token keys. */

export async function clusterRows(sql: Query): Promise<ClusterRecord[]> {
  const [clusters, authorities, batchKeys] = await Promise.all([
    sql`SELECT * FROM clusters ORDER BY created_at_ms, id`,
    sql`SELECT * FROM authorities ORDER BY created_at_ms DESC, sequence DESC`,
    sql`SELECT * FROM batch_keys ORDER BY created_at_ms DESC, sequence DESC`,
  ])
  return clusters.map((row) =>
    clusterOf(row, {
      authorities: authorities.filter(({ cluster }) => cluster === row.id).map(authorityOf),
      batchKeys: batchKeys.filter(({ cluster }) => cluster === row.id).map(batchKeyOf),
    }),
  )
}

/** Newest first. */
export async function authorityRows(sql: Query, cluster: string): Promise<AuthorityRecord[]> {
  const rows =
    await sql`SELECT * FROM authorities WHERE cluster = ${cluster} ORDER BY created_at_ms DESC, sequence DESC`
  return rows.map(authorityOf)
}

/** @throws StoreConflictError if the id is taken */
export async function insertClusterRows(sql: Query, cluster: ClusterRecord): Promise<void> {
  const { count } = await sql`
    INSERT INTO clusters VALUES (${cluster.cluster}, ${cluster.name}, ${cluster.createdAtMs}) ON CONFLICT DO NOTHING`
  if (count === 0) throw new StoreConflictError(`cluster ${cluster.cluster} exists`)
  for (const authority of cluster.authorities) await insertAuthorityRow(sql, cluster.cluster, authority)
  for (const key of cluster.batchKeys) await insertBatchKeyRow(sql, cluster.cluster, key)
}

/** Changes of one cluster's secrets run one after the other, whichever tracker makes them. */
export async function lockCluster(sql: Query, cluster: ClusterId): Promise<void> {
  await sql`SELECT 1 FROM clusters WHERE id = ${cluster} FOR UPDATE`
}

export async function insertAuthorityRow(sql: Query, cluster: string, it: AuthorityRecord): Promise<void> {
  await sql`INSERT INTO authorities (cluster, created_at_ms, certificate_pem, sealed_key)
    VALUES (${cluster}, ${it.createdAtMs}, ${it.certificatePem}, ${it.sealedKey})`
}

export async function insertBatchKeyRow(sql: Query, cluster: string, key: BatchKeyRecord): Promise<void> {
  await sql`INSERT INTO batch_keys (cluster, created_at_ms, public_key, sealed_key, ends_at_ms)
    VALUES (${cluster}, ${key.createdAtMs}, ${key.publicKey}, ${key.sealedKey}, ${key.endsAtMs})`
}

/** Replaces every sealed value by the result of `reseal`. Run it inside a transaction. */
export async function resealRows(sql: Query, reseal: Reseal): Promise<void> {
  // Nobody adds a value that the old key sealed meanwhile.
  await sql`LOCK TABLE join_tokens, authorities, batch_keys, token_keys, admin_tokens IN SHARE ROW EXCLUSIVE MODE`
  for (const { id, cluster, sealed_hash } of await sql`SELECT id, cluster, sealed_hash FROM join_tokens`) {
    const sealed = reseal('joinToken', cluster, bytes(sealed_hash))
    await sql`UPDATE join_tokens SET sealed_hash = ${sealed} WHERE id = ${id}`
  }
  for (const { sequence, cluster, sealed_key } of await sql`SELECT * FROM authorities`) {
    const sealed = reseal(
      cluster === ADMIN_CLUSTER ? 'adminAuthority' : 'authority',
      cluster,
      bytes(sealed_key),
    )
    await sql`UPDATE authorities SET sealed_key = ${sealed} WHERE sequence = ${sequence}`
  }
  for (const { sequence, cluster, sealed_key } of await sql`SELECT * FROM batch_keys`) {
    const sealed = reseal('batchKey', cluster, bytes(sealed_key))
    await sql`UPDATE batch_keys SET sealed_key = ${sealed} WHERE sequence = ${sequence}`
  }
  for (const { id, sealed } of await sql`SELECT id, sealed FROM token_keys WHERE sealed IS NOT NULL`) {
    const again = reseal('tokenKey', '', bytes(sealed))
    await sql`UPDATE token_keys SET sealed = ${again} WHERE id = ${id}`
  }
  for (const { name, sealed } of await sql`SELECT name, sealed FROM admin_tokens WHERE sealed IS NOT NULL`) {
    const again = reseal('adminToken', '', bytes(sealed))
    await sql`UPDATE admin_tokens SET sealed = ${again} WHERE name = ${name}`
  }
}
