import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { AuditEntry } from './audit.ts'
import { learnedOf, restoreOf } from './records.ts'
import { type LearnedRecord, learnedEntry, type RestoreRecord, type RestoreStore } from './restores.ts'
import type { NewRevocation } from './revocations.ts'
import { insertAuditRow } from './sqlite-audit.ts'
import { insertRevocationRow } from './sqlite-revocations.ts'
import { SqliteSecretStore } from './sqlite-secret-store.ts'

/** The part of the embedded store for what follows a restored backup. */
export class SqliteRestoreStore extends SqliteSecretStore implements RestoreStore {
  async lastRestore(): Promise<RestoreRecord | undefined> {
    const row = this.db.get('SELECT * FROM restores ORDER BY restored_at_ms DESC LIMIT 1')
    return row === undefined ? undefined : restoreOf(row)
  }

  async learned(): Promise<LearnedRecord[]> {
    return this.db.all('SELECT * FROM restore_learned ORDER BY cluster, id').map(learnedOf)
  }

  async heardNodes() {
    const heard = this.db.all('SELECT cluster, node FROM restore_heard')
    return heard as { cluster: ClusterId; node: NodeId }[]
  }

  async learn(
    { cluster, node, atMs }: { cluster: ClusterId; node: NodeId; atMs: number },
    copies: ReadonlyMap<string, string>,
  ): Promise<string[]> {
    return this.db.durably(() => {
      const heard = 'INSERT INTO restore_heard VALUES (?, ?, ?) ON CONFLICT DO NOTHING'
      if (this.db.run(heard, cluster, node, atMs).changes === 0) return []
      const again = 'UPDATE restore_learned SET nodes = nodes + 1 WHERE cluster = ? AND id = ?'
      const fresh = [...copies].filter(([id]) => this.db.run(again, cluster, id).changes === 0)
      for (const [id, copy] of fresh)
        this.db.run('INSERT INTO restore_learned VALUES (?, ?, ?, 1)', cluster, id, copy)
      return fresh.map(([id]) => id)
    })
  }

  async confirmRestore(revocations: readonly NewRevocation[], audit: AuditEntry): Promise<boolean> {
    return this.recorded('durably', audit, () => {
      const confirm = 'UPDATE restores SET confirmed_at_ms = ? WHERE confirmed_at_ms IS NULL'
      if (this.db.run(confirm, audit.atMs).changes === 0) return false
      for (const revocation of revocations) {
        insertRevocationRow(this.db, revocation)
        insertAuditRow(this.db, learnedEntry(audit, revocation))
      }
      return true
    })
  }
}
