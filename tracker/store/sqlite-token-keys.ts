import { tokenKeyOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'
import type { TokenKeyRecord } from './store.ts'

export function tokenKeyRows(db: SqliteDatabase): TokenKeyRecord[] {
  return db.all('SELECT * FROM token_keys ORDER BY probed_at_ms').map(tokenKeyOf)
}

export function putTokenKeyRow(db: SqliteDatabase, record: TokenKeyRecord): void {
  const { id, key, probedAtMs, trustedUntilMs, withdrawnAtMs } = record
  const put = 'INSERT OR REPLACE INTO token_keys VALUES (?, ?, ?, ?, ?)'
  db.run(put, id, JSON.stringify(key), probedAtMs, trustedUntilMs, withdrawnAtMs)
}
