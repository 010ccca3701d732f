import { join } from 'node:path'
import { ensureDataDir } from '../core/config.ts'
import { lockDataDir } from '../core/data-lock.ts'
import { Clusters } from './authority/clusters.ts'
import type { NewCluster } from './authority/new-cluster.ts'
import { openSealer } from './authority/sealer.ts'
import { STORE_FILE } from './store/open-store.ts'
import { SqliteStore } from './store/sqlite-store.ts'

const BY = 'operator'

/**
 * Makes a new tracker's data: sealed by the unlock key, with its first cluster. No tracker runs meanwhile.
 * @throws UnlockKeyError, StoreUnusableError, DataFolderError, ConfigError
 */
export async function initStore(dataDir: string, unlockKey: string, first: NewCluster): Promise<void> {
  ensureDataDir(dataDir)
  const unlock = lockDataDir(dataDir)
  const store = new SqliteStore(join(dataDir, STORE_FILE))
  try {
    const sealer = await openSealer(store, unlockKey)
    const clusters = await Clusters.load(store, sealer, { nowMs: Date.now, settleMs: 0 })
    const by = { actor: BY, nowMs: Date.now() }
    await clusters.create(first, by)
  } finally {
    await store.close()
    unlock()
  }
}
