import type { ClusterId } from '../../core/metainfo.ts'
import { StoreConflictError } from '../errors.ts'
import { ADMIN_CLUSTER, authorityOf, batchKeyOf, bytes, clusterOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import type { AuthorityRecord, BatchKeyRecord, ClusterRecord, Reseal } from './store.ts'

/** Rows with sealed values: clusters' authorities, batch keys and join tokens, the admin authorities, and token keys. */

export function clusterRows(db: SqliteDatabase): ClusterRecord[] {
  return db.all('SELECT * FROM clusters ORDER BY created_at_ms, id').map((row) => {
    const cluster = row.id as string
    return clusterOf(row, { authorities: authorityRows(db, cluster), batchKeys: batchKeyRows(db, cluster) })
  })
}

/** @throws StoreConflictError if the id is taken */
export function insertClusterRows(db: SqliteDatabase, cluster: ClusterRecord): void {
  const { changes } = db.run(
    'INSERT INTO clusters VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    cluster.cluster,
    cluster.name,
    cluster.createdAtMs,
  )
  if (changes === 0) throw new StoreConflictError(`cluster ${cluster.cluster} exists`)
  for (const authority of cluster.authorities) insertAuthorityRow(db, cluster.cluster, authority)
  for (const key of cluster.batchKeys) insertBatchKeyRow(db, cluster.cluster, key)
}

/** Newest first. */
export function authorityRows(db: SqliteDatabase, cluster: string): AuthorityRecord[] {
  const newestFirst = 'SELECT * FROM authorities WHERE cluster = ? ORDER BY created_at_ms DESC, rowid DESC'
  return db.all(newestFirst, cluster).map(authorityOf)
}

function batchKeyRows(db: SqliteDatabase, cluster: string): BatchKeyRecord[] {
  const newestFirst = 'SELECT * FROM batch_keys WHERE cluster = ? ORDER BY created_at_ms DESC, rowid DESC'
  return db.all(newestFirst, cluster).map(batchKeyOf)
}

export function insertBatchKeyRow(db: SqliteDatabase, cluster: string, key: BatchKeyRecord): void {
  const insert = 'INSERT INTO batch_keys VALUES (?, ?, ?, ?, ?)'
  db.run(insert, cluster, key.createdAtMs, key.publicKey, key.sealedKey, key.endsAtMs)
}

export function insertAuthorityRow(db: SqliteDatabase, cluster: string, authority: AuthorityRecord): void {
  const insert = 'INSERT INTO authorities VALUES (?, ?, ?, ?)'
  db.run(insert, cluster, authority.createdAtMs, authority.certificatePem, authority.sealedKey)
}

/** Replaces every sealed value by the result of `reseal`. Run it inside a transaction. */
export function resealRows(db: SqliteDatabase, reseal: Reseal): void {
  for (const row of db.all('SELECT id, cluster, sealed_hash FROM join_tokens')) {
    const sealed = reseal('joinToken', row.cluster as ClusterId, bytes(row.sealed_hash))
    db.run('UPDATE join_tokens SET sealed_hash = ? WHERE id = ?', sealed, row.id as string)
  }
  for (const row of db.all('SELECT rowid, cluster, sealed_key FROM authorities')) {
    const cluster = row.cluster as ClusterId | ''
    const kind = cluster === ADMIN_CLUSTER ? 'adminAuthority' : 'authority'
    const sealed = reseal(kind, cluster, bytes(row.sealed_key))
    db.run('UPDATE authorities SET sealed_key = ? WHERE rowid = ?', sealed, row.rowid as number)
  }
  for (const row of db.all('SELECT rowid, cluster, sealed_key FROM batch_keys')) {
    const sealed = reseal('batchKey', row.cluster as ClusterId, bytes(row.sealed_key))
    db.run('UPDATE batch_keys SET sealed_key = ? WHERE rowid = ?', sealed, row.rowid as number)
  }
  for (const row of db.all('SELECT id, sealed FROM token_keys WHERE sealed IS NOT NULL')) {
    const sealed = reseal('tokenKey', '', bytes(row.sealed))
    db.run('UPDATE token_keys SET sealed = ? WHERE id = ?', sealed, row.id as string)
  }
  for (const row of db.all('SELECT name, sealed FROM admin_tokens WHERE sealed IS NOT NULL')) {
    const sealed = reseal('adminToken', '', bytes(row.sealed))
    db.run('UPDATE admin_tokens SET sealed = ? WHERE name = ?', sealed, row.name as string)
  }
}
