import type { SealedAdminToken } from './admin-tokens.ts'
import { adminTokenOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

export function adminTokenRows(db: SqliteDatabase): SealedAdminToken[] {
  return db.all('SELECT * FROM admin_tokens ORDER BY name').map(adminTokenOf)
}

/** Run it inside a transaction. @returns false if one of that name counts */
export function putAdminTokenRow(
  db: SqliteDatabase,
  { name, role, hash, createdAtMs, endsAtMs, sealed }: SealedAdminToken,
): boolean {
  const put = `INSERT INTO admin_tokens VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE
    SET role = excluded.role, hash = excluded.hash, created_at_ms = excluded.created_at_ms, ends_at_ms = excluded.ends_at_ms,
      sealed = excluded.sealed
    WHERE ends_at_ms <= excluded.created_at_ms`
  return db.run(put, name, role, hash, createdAtMs, endsAtMs, sealed).changes > 0
}

/** Run it inside a transaction. @returns false if there is none of that name */
export function deleteAdminTokenRow(db: SqliteDatabase, name: string): boolean {
  return db.run('DELETE FROM admin_tokens WHERE name = ?', name).changes > 0
}
