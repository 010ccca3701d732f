import type { Store } from '../store.ts'
import { browseStore } from './browse-store.ts'
import { DataKeyGuard } from './data-key.ts'
import { memberStore } from './member-store.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { restoreStore } from './restore-store.ts'
import { secretStore } from './secret-store.ts'
import { sharedStore } from './shared-store.ts'
import { swarmStore } from './swarm-store.ts'

/** The store of several trackers: one PostgreSQL database. */
export function postgresStore(database: PostgresDatabase): Store {
  const dataKey = new DataKeyGuard()
  return {
    ...secretStore(database, dataKey),
    ...memberStore(database, dataKey),
    ...swarmStore(database),
    ...restoreStore(database),
    ...browseStore(database),
    ...sharedStore(database),
  }
}
