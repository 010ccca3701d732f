import { tokenKeyOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import type { SealedTokenKey } from './store.ts'

export function tokenKeyRows(db: SqliteDatabase): SealedTokenKey[] {
  return db.all('SELECT * FROM token_keys ORDER BY probed_at_ms').map(tokenKeyOf)
}

export function putTokenKeyRow(db: SqliteDatabase, record: SealedTokenKey): void {
  const { id, key, probedAtMs, trustedUntilMs, withdrawnAtMs, sealed } = record
  const put = 'INSERT OR REPLACE INTO token_keys VALUES (?, ?, ?, ?, ?, ?)'
  db.run(put, id, JSON.stringify(key), probedAtMs, trustedUntilMs, withdrawnAtMs, sealed)
}
