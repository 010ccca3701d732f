import { openSealer, reseal } from '../../tracker/authority/sealer.ts'
import type { AuditEntry } from '../../tracker/store/audit.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import type { Reseal } from '../../tracker/store/store.ts'

/** Seals a store's secrets anew, and is killed at the nth of them; when there are fewer, right after it is done. */
const [path, killAt, unlockKey, newUnlockKey] = process.argv.slice(2) as [string, string, string, string]
const die = () => process.kill(process.pid, 'SIGKILL')

class DyingStore extends SqliteStore {
  override replaceDataKey(sealedDataKey: Buffer, again: Reseal, audit: AuditEntry): Promise<void> {
    let count = 0
    const dying: Reseal = (...value) => {
      count += 1
      if (count === Number(killAt)) die()
      return again(...value)
    }
    return super.replaceDataKey(sealedDataKey, dying, audit)
  }
}

const store = new DyingStore(path)
const sealer = await openSealer(store, unlockKey)
await reseal(store, sealer, { unlockKey, newUnlockKey }, { actor: 'test', nowMs: 0 })
die()
