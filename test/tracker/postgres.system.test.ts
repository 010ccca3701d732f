import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import {
  DATABASE,
  DATABASE_PASSWORD,
  hasPostgres,
  OWNER_ROLE,
  PostgresServer,
  TRACKER_ROLE,
} from '../../lab/database/postgres-server.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { LabProcesses } from '../../lab/machine/processes.ts'
import { checkPostgres, migratePostgres } from '../../tracker/store/postgres/migrate.ts'
import { PostgresDatabase } from '../../tracker/store/postgres/postgres-database.ts'
import { PostgresStore } from '../../tracker/store/postgres/postgres-store.ts'
import { readPostgresUrl } from '../../tracker/store/postgres/postgres-url.ts'
import { storeContract } from './store-contract.ts'

const isSkipped = (process.getuid?.() !== 0 || !hasPostgres()) && !process.env.CI
if (isSkipped) console.warn('skipped: PostgreSQL needs root and the package postgresql')

describe.skipIf(isSkipped)('a store on PostgreSQL', () => {
  let folder: string
  let processes: LabProcesses
  let server: PostgresServer
  let authority: KeyedCertificate

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-postgres-'))
    // The server's own user must get in.
    chmodSync(folder, 0o711)
    processes = new LabProcesses(folder)
    authority = await makeAuthority({ commonName: 'database authority', validForSeconds: 3600 })
    server = await PostgresServer.start({
      processes,
      folder: join(folder, 'server'),
      listen: { host: 'localhost', port: await freePort() },
      certificate: await issueForLocalhost(authority),
    })
    const owner = database(OWNER_ROLE)
    expect(await migratePostgres(owner, TRACKER_ROLE)).toBeGreaterThan(0)
    expect(await migratePostgres(owner, TRACKER_ROLE)).toBe(0)
    await owner.close()
  })
  afterAll(async () => {
    await processes?.close()
    if (folder !== undefined) rmSync(folder, { recursive: true })
  })

  const database = (role = TRACKER_ROLE, authorityPem = authority.certificatePem) =>
    new PostgresDatabase({
      place: readPostgresUrl(server.url(role)),
      password: DATABASE_PASSWORD,
      authorityPem,
    })

  storeContract('PostgreSQL', async () => {
    const tables = await server.sql(
      "SELECT string_agg(format('shoal.%I', tablename), ', ') FROM pg_tables WHERE schemaname = 'shoal' AND tablename <> 'migrations'",
    )
    await server.sql(`TRUNCATE ${tables.trim()} RESTART IDENTITY`)
    return new PostgresStore(database())
  })
})
