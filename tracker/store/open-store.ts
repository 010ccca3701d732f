import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, readSecretFile } from '../../core/config.ts'
import type { TrackerConfig } from '../config.ts'
import { readDatabaseUrl } from '../database-url.ts'
import type { PostgresDatabase } from './postgres/postgres-database.ts'
import { SqliteStore } from './sqlite-store.ts'
import type { Store } from './store.ts'

/** The embedded store, in the data folder. */
export const STORE_FILE = 'tracker.sqlite'

export type DatabaseConfig = Pick<
  TrackerConfig,
  'databasePasswordFile' | 'databaseCaFile' | 'databaseListenUrl'
>

/**
 * The store that the configuration names: a database, or a file in the data folder.
 * @throws StoreUnusableError, StoreUnavailableError, ConfigError, DataFolderError
 */
export async function openStore(
  config: DatabaseConfig & Pick<TrackerConfig, 'databaseUrl' | 'dataDir'>,
): Promise<Store> {
  const { databaseUrl, dataDir } = config
  if (databaseUrl === undefined) return new SqliteStore(join(dataDir, STORE_FILE))
  const database = await openDatabase(databaseUrl, config)
  const { checkPostgres } = await import('./postgres/migrate.ts')
  const { postgresStore } = await import('./postgres/postgres-store.ts')
  try {
    await checkPostgres(database)
    return postgresStore(database)
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Loads the client library too. @param password default: from the file, if there is one @throws ConfigError */
export async function openDatabase(
  url: string,
  { databasePasswordFile, databaseCaFile, databaseListenUrl }: Partial<DatabaseConfig>,
  password = databasePasswordFile && readSecretFile(databasePasswordFile, 'databasePasswordFile'),
): Promise<PostgresDatabase> {
  const place = readDatabaseUrl(url)
  const listenPlace = databaseListenUrl === undefined ? undefined : readDatabaseUrl(databaseListenUrl)
  for (const socket of [place.socket, listenPlace?.socket])
    if (socket !== undefined) checkSocketFolder(socket.host)
  const { PostgresDatabase } = await import('./postgres/postgres-database.ts')
  return new PostgresDatabase({
    place,
    ...(listenPlace === undefined ? {} : { listenPlace }),
    ...(password === undefined ? {} : { password }),
    ...(databaseCaFile === undefined ? {} : { authorityPem: readAuthority(databaseCaFile) }),
  })
}

/** Anybody could listen there while the server is down, and be told the password. @throws ConfigError */
function checkSocketFolder(folder: string): void {
  const mode = statSync(folder, { throwIfNoEntry: false })?.mode ?? 0
  if ((mode & 0o002) !== 0)
    throw new ConfigError(`databaseUrl: everybody can write to ${folder}, so the socket there proves nothing`)
}

function readAuthority(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError(`cannot read databaseCaFile ${path}: ${(cause as Error).message}`, { cause })
  }
}
