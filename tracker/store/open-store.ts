import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, readSecretFile } from '../../core/config.ts'
import type { TrackerConfig } from '../config.ts'
import { checkPostgres } from './postgres/migrate.ts'
import { PostgresDatabase } from './postgres/postgres-database.ts'
import { postgresStore } from './postgres/postgres-store.ts'
import { readPostgresUrl } from './postgres/postgres-url.ts'
import { SqliteStore } from './sqlite-store.ts'
import type { Store } from './store.ts'

/** The embedded store, in the data folder. */
export const STORE_FILE = 'tracker.sqlite'

export type DatabaseConfig = Pick<TrackerConfig, 'databasePasswordFile' | 'databaseCaFile'>

/**
 * The store that the configuration names: a database, or a file in the data folder.
 * @throws StoreUnusableError, StoreUnavailableError, ConfigError, DataFolderError
 */
export async function openStore(
  config: DatabaseConfig & Pick<TrackerConfig, 'databaseUrl' | 'dataDir'>,
): Promise<Store> {
  const { databaseUrl, dataDir } = config
  if (databaseUrl === undefined) return new SqliteStore(join(dataDir, STORE_FILE))
  const database = openDatabase(databaseUrl, config)
  try {
    await checkPostgres(database)
    return postgresStore(database)
  } catch (error) {
    await database.close()
    throw error
  }
}

/** @param password default: from the file, if there is one @throws ConfigError */
export function openDatabase(
  url: string,
  { databasePasswordFile, databaseCaFile }: Partial<DatabaseConfig>,
  password = databasePasswordFile && readSecretFile(databasePasswordFile, 'databasePasswordFile'),
): PostgresDatabase {
  return new PostgresDatabase({
    place: readPostgresUrl(url),
    ...(password === undefined ? {} : { password }),
    ...(databaseCaFile === undefined ? {} : { authorityPem: readAuthority(databaseCaFile) }),
  })
}

function readAuthority(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError(`cannot read databaseCaFile ${path}: ${(cause as Error).message}`, { cause })
  }
}
