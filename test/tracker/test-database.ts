import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeAuthority } from '../../core/issue-certificate.ts'
import {
  DATABASE_PASSWORD,
  hasPostgres,
  OWNER_ROLE,
  PostgresServer,
  TRACKER_ROLE,
} from '../../lab/database/postgres-server.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { LabProcesses } from '../../lab/machine/processes.ts'
import { openDatabase } from '../../tracker/store/open-store.ts'
import { migratePostgres } from '../../tracker/store/postgres/migrate.ts'
import type { PostgresDatabase } from '../../tracker/store/postgres/postgres-database.ts'

/** Whether tests with PostgreSQL must be skipped. On continuous integration a missing server fails the run. */
export function mustSkipPostgres(): boolean {
  const isSkipped = (process.getuid?.() !== 0 || !hasPostgres()) && !process.env.CI
  if (isSkipped)
    console.warn('skipped: PostgreSQL needs root and the package postgresql (apt install postgresql)')
  return isSkipped
}

/** A real server on loopback with the newest schema. */
export interface TestDatabase {
  server: PostgresServer
  /** What `shoal tracker` is configured with. */
  config: { databaseUrl: string; databasePasswordFile: string; databaseCaFile: string }
  /** A connection of its own. @param role default: the trackers' */
  connect(role?: string): Promise<PostgresDatabase>
  /** Empties all tables. */
  empty(): Promise<void>
  close(): Promise<void>
}

export async function startTestDatabase(): Promise<TestDatabase> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-postgres-'))
  // The server's own user must get in.
  chmodSync(folder, 0o711)
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const processes = new LabProcesses(folder)
  const authority = await makeAuthority({ commonName: 'database authority', validForSeconds: 3600 })
  const server = await PostgresServer.start({
    processes,
    folder: join(folder, 'server'),
    listen: { host: 'localhost', port: await freePort() },
    certificate: await issueForLocalhost(authority),
  })
  const config = {
    databaseUrl: server.url(),
    databasePasswordFile: write('password', DATABASE_PASSWORD),
    databaseCaFile: write('authority.crt', authority.certificatePem),
  }
  const connect = (role = TRACKER_ROLE) => openDatabase(server.url(role), config)
  const owner = await connect(OWNER_ROLE)
  await migratePostgres(owner, TRACKER_ROLE)
  await owner.close()
  return {
    server,
    config,
    connect,
    async empty() {
      const ofTables = "FROM pg_tables WHERE schemaname = 'shoal' AND tablename <> 'migrations'"
      const tables = await server.sql(`SELECT string_agg(format('shoal.%I', tablename), ', ') ${ofTables}`)
      await server.sql(`TRUNCATE ${tables.trim()} RESTART IDENTITY`)
    },
    async close() {
      await processes.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
