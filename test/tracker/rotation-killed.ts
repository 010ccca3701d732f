import type { ClusterId } from '../../core/metainfo.ts'
import { AdminAuthorities } from '../../tracker/admin/admin-authority.ts'
import { Clusters } from '../../tracker/authority/clusters.ts'
import { openSealer } from '../../tracker/authority/sealer.ts'
import type { AuditEntry } from '../../tracker/store/audit.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'

/** Takes one step of a change of keys, and is killed within its transaction, or right after it is done. */
const [path, unlockKey, cluster, step, when] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
]
const die = () => process.kill(process.pid, 'SIGKILL')

/** The audit entry is the last that a step writes: reading it is the middle of the transaction. */
function deadly(entry: AuditEntry): AuditEntry {
  if (when !== 'within') return entry
  const { target, ...rest } = entry
  return {
    ...rest,
    get target() {
      die()
      return target
    },
  }
}

class DyingStore extends SqliteStore {
  override addBatchKey(...[of, key, how, audit]: Parameters<SqliteStore['addBatchKey']>): Promise<void> {
    return super.addBatchKey(of, key, how, deadly(audit))
  }
  override removeBatchKey(...[of, key, audit]: Parameters<SqliteStore['removeBatchKey']>): Promise<void> {
    return super.removeBatchKey(of, key, deadly(audit))
  }
  override addAdminAuthority(
    ...[authority, how, audit]: Parameters<SqliteStore['addAdminAuthority']>
  ): Promise<void> {
    return super.addAdminAuthority(authority, how, deadly(audit))
  }
}

const store = new DyingStore(path)
const sealer = await openSealer(store, unlockKey)
const nowMs = Date.now()
const by = { actor: 'test', nowMs }
const clusters = await Clusters.load(store, sealer, { nowMs: Date.now, settleMs: 0 })
if (step === 'add') await clusters.addSigningKey(cluster as ClusterId, { isLeaked: false }, by)
if (step === 'withdraw') await clusters.withdrawSigningKey(cluster as ClusterId, { isForced: true }, by)
if (step === 'admin') await (await AdminAuthorities.load(store, sealer, nowMs)).rotate({ isLeaked: true }, by)
die()
