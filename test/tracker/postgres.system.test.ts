import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readSecretFile } from '../../core/config.ts'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { DATABASE, OWNER_ROLE, TRACKER_ROLE } from '../../lab/database/postgres-server.ts'
import { readDatabaseUrl } from '../../tracker/database-url.ts'
import { STORE_CHANGES, type StoreChange } from '../../tracker/store/changes.ts'
import { checkPostgres, migratePostgres } from '../../tracker/store/postgres/migrate.ts'
import { PostgresDatabase } from '../../tracker/store/postgres/postgres-database.ts'
import { dumpPostgres, fillPostgres } from '../../tracker/store/postgres/postgres-dump.ts'
import { LISTENER, type PostgresSettings } from '../../tracker/store/postgres/postgres-hosts.ts'
import { postgresStore } from '../../tracker/store/postgres/postgres-store.ts'
import { POSTGRES_MIGRATIONS } from '../../tracker/store/postgres/schema.ts'
import { dumpSqlite } from '../../tracker/store/sqlite-dump.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { emptyChange } from '../../tracker/store/store.ts'
import { importLines } from '../../tracker/store/take-in.ts'
import { each, fillStore, linesOf } from './filled-store.ts'
import { storeContract } from './store-contract.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from './test-database.ts'

const CLUSTER = `c${'1'.repeat(16)}` as ClusterId

describe.skipIf(mustSkipPostgres())('a store on PostgreSQL', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await startTestDatabase()
  })
  afterAll(() => database?.close())

  storeContract('PostgreSQL', async () => {
    await database.empty()
    return postgresStore(await database.connect())
  })

  const refusal = async (role: string) => {
    const connection = await database.connect(role)
    try {
      await checkPostgres(connection)
      return undefined
    } catch (error) {
      return error
    } finally {
      await connection.close()
    }
  }

  it('is used by the role of the trackers, and refused to its owner, to a superuser and to who may make tables', async () => {
    const { server } = database
    expect(await refusal(TRACKER_ROLE)).toBeUndefined()
    expect(await refusal(OWNER_ROLE)).toMatchObject({ code: 'STORE_UNUSABLE', message: /owns the schema/ })
    for (const right of ['SUPERUSER', 'CREATEROLE', 'BYPASSRLS']) {
      await server.sql(`ALTER ROLE ${TRACKER_ROLE} ${right}`)
      expect(await refusal(TRACKER_ROLE), right).toMatchObject({ code: 'STORE_UNUSABLE' })
      await server.sql(`ALTER ROLE ${TRACKER_ROLE} NO${right}`)
    }
    await server.sql(`GRANT CREATE ON SCHEMA shoal TO ${TRACKER_ROLE}`)
    expect(await refusal(TRACKER_ROLE)).toMatchObject({
      code: 'STORE_UNUSABLE',
      message: /change its tables/,
    })
    await server.sql(`REVOKE CREATE ON SCHEMA shoal FROM ${TRACKER_ROLE}`)
    await server.sql(`GRANT ${OWNER_ROLE} TO ${TRACKER_ROLE}`)
    expect(await refusal(TRACKER_ROLE), 'a member of the owner').toMatchObject({ code: 'STORE_UNUSABLE' })
    await server.sql(`REVOKE ${OWNER_ROLE} FROM ${TRACKER_ROLE}`)
    await server.sql(`GRANT pg_write_all_data TO ${TRACKER_ROLE}`)
    expect(await refusal(TRACKER_ROLE)).toMatchObject({ code: 'STORE_UNUSABLE', message: /audit log/ })
    await server.sql(`REVOKE pg_write_all_data FROM ${TRACKER_ROLE}`)
    expect(await refusal(TRACKER_ROLE)).toBeUndefined()
  })

  it('lets a tracker only add to the audit log, and forget what is older than 90 days', async () => {
    const connection = await database.connect()
    await database.empty()
    const store = postgresStore(connection)
    const nowMs = Date.now()
    for (const atMs of [nowMs - 91 * 24 * 3600_000, nowMs - 89 * 24 * 3600_000])
      await store.addAudit({ atMs, actor: 'a', action: 'b', cluster: null, target: 'c' })
    const forbidden = [
      'UPDATE audit SET actor = actor',
      'DELETE FROM audit',
      'TRUNCATE audit',
      'DROP TABLE audit',
    ]
    const ahead =
      "INSERT INTO audit (sequence, at_ms, actor, action, target) OVERRIDING SYSTEM VALUE VALUES (99, 1, 'a', 'b', 'c')"
    for (const statement of [
      ...forbidden,
      ahead,
      'DELETE FROM migrations',
      'CREATE TABLE shoal.mine (id int)',
    ])
      await expect(
        connection.run((sql) => sql.run(statement)),
        statement,
      ).rejects.toMatchObject({ code: '42501' })
    await store.prune({ pulls: 0, audit: nowMs, nodes: 0, joinTokens: 0, now: nowMs, pullsPerNodeMax: 9 })
    expect(await store.audit({ limit: 9 })).toHaveLength(1)
    await store.close()
  })

  it('is verified: another authority, another name or no TLS is refused, and so is a wrong password', async () => {
    const { databaseUrl, databasePasswordFile, databaseCaFile } = database.config
    const password = readSecretFile(databasePasswordFile, 'databasePasswordFile')
    const authorityPem = readSecretFile(databaseCaFile, 'databaseCaFile')
    const place = readDatabaseUrl(databaseUrl)
    const other = (await makeAuthority({ commonName: 'other', validForSeconds: 60 })).certificatePem
    const { port } = place.hosts[0]!
    const attempts: [PostgresSettings, string][] = [
      [{ place, password, authorityPem: other }, 'STORE_UNAVAILABLE'],
      [{ place, password }, 'STORE_UNAVAILABLE'],
      [
        { place: { ...place, hosts: [{ host: '127.0.0.1', port }] }, password, authorityPem },
        'STORE_UNAVAILABLE',
      ],
      [{ place, password: 'wrong', authorityPem }, 'STORE_UNUSABLE'],
    ]
    for (const [settings, code] of attempts) {
      const connection = new PostgresDatabase(settings)
      await expect(connection.run((sql) => sql`SELECT 1`)).rejects.toMatchObject({ code })
      await connection.close()
    }
  })

  it('answers over its local socket', async () => {
    const { server, config } = database
    const port = readDatabaseUrl(config.databaseUrl).hosts[0]!.port
    const url = `postgres://${TRACKER_ROLE}@/${DATABASE}?host=${encodeURIComponent(server.socketFolder)}&port=${port}`
    const password = readSecretFile(config.databasePasswordFile, 'databasePasswordFile')
    const connection = new PostgresDatabase({ place: readDatabaseUrl(url), password })
    expect((await connection.run((sql) => sql`SELECT 1 AS one`))[0]).toEqual({ one: 1 })
    await connection.close()
  })

  it('is refused when it is empty or of a newer version, and taken when only older trackers cannot go on', async () => {
    const { server } = database
    const newer = POSTGRES_MIGRATIONS.length + 1
    await server.sql(`INSERT INTO shoal.migrations VALUES (${newer}, 1)`)
    expect(await refusal(TRACKER_ROLE), 'a newer schema that this program can use').toBeUndefined()
    await server.sql(`UPDATE shoal.migrations SET oldest_program = ${newer} WHERE number = ${newer}`)
    expect(await refusal(TRACKER_ROLE)).toMatchObject({ code: 'STORE_UNUSABLE', message: /newer version/ })
    const owner = await database.connect(OWNER_ROLE)
    await expect(migratePostgres(owner, TRACKER_ROLE)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    await server.sql(`DELETE FROM shoal.migrations WHERE number = ${newer}`)
    await expect(migratePostgres(owner, OWNER_ROLE)).rejects.toMatchObject({ message: /different roles/ })
    await expect(migratePostgres(owner, 'x; DROP SCHEMA shoal')).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
    })
    expect(await migratePostgres(owner, TRACKER_ROLE)).toBe(0)
    await owner.close()
    await server.sql(`ALTER SCHEMA shoal OWNER TO postgres`)
    const again = await database.connect(OWNER_ROLE)
    await expect(migratePostgres(again, TRACKER_ROLE)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
    await again.close()
    await server.sql(`ALTER SCHEMA shoal OWNER TO ${OWNER_ROLE}`)
    await server.sql('ALTER SCHEMA shoal RENAME TO other')
    expect(await refusal(TRACKER_ROLE)).toMatchObject({ code: 'STORE_UNUSABLE', message: /older schema/ })
    await server.sql('ALTER SCHEMA other RENAME TO shoal')
  })

  it('takes the export of an embedded store, and exports the same; numbering goes on above it', async () => {
    await database.empty()
    const folder = mkdtempSync(join(tmpdir(), 'shoal-dump-'))
    const embedded = new SqliteStore(join(folder, 'tracker.sqlite'))
    await fillStore(embedded)
    await embedded.close()
    const lines = await linesOf(dumpSqlite(join(folder, 'tracker.sqlite')))
    rmSync(folder, { recursive: true })
    const connection = await database.connect(OWNER_ROLE)
    const load = async (changed: string[]) =>
      (await fillPostgres(connection, (store) => importLines(each(changed), store))).rows
    await expect(load(lines.slice(0, -1))).rejects.toMatchObject({ code: 'STORE_DUMP' })
    expect(await load(lines)).toBe(lines.length - 2)
    await expect(load(lines)).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
    const again: string[] = []
    await dumpPostgres(connection, async (written) => void again.push(...(await linesOf(written))))
    expect(again).toEqual(lines)
    const store = postgresStore(connection)
    const [newest] = await store.audit({ limit: 1 })
    await store.addAudit({ atMs: 1, actor: 'a', action: 'after', cluster: null, target: 't' })
    expect((await store.audit({ limit: 1 }))[0]?.sequence).toBeGreaterThan(newest!.sequence)
    await store.close()
  })

  it('tells of changes again after the connection that listens was killed', async () => {
    await database.empty()
    const [here, there] = [postgresStore(await database.connect()), postgresStore(await database.connect())]
    const heard: StoreChange[] = []
    await here.watch((what) => heard.push(what))
    const audit = { atMs: 1, actor: 'a', action: 'b', cluster: CLUSTER, target: 'c' }
    const pause = () => there.putPause({ cluster: CLUSTER, node: null, atMs: 1 }, audit)
    await pause()
    await expect.poll(() => heard.at(-1), { timeout: 10_000 }).toBe('pauses')
    heard.length = 0
    const { server } = database
    const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '${LISTENER}'`
    expect((await server.sql(kill)).trim()).toBe('1')
    // What was missed is unknown: everything is read again.
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(STORE_CHANGES.length)
    heard.length = 0
    await there.removePause({ cluster: CLUSTER, node: null }, audit)
    await expect.poll(() => heard, { timeout: 10_000 }).toEqual(['pauses'])
    for (const store of [here, there]) await store.close()
  })

  it('keeps for the other trackers what a registry answered, and which asks for credentials', async () => {
    await database.empty()
    const [here, there] = [postgresStore(await database.connect()), postgresStore(await database.connect())]
    const mark = Buffer.from([1])
    const acceptance = { id: 'hash', digest: digestFromHex('d'.repeat(64)), untilMs: 9, mark }
    const membership = { id: 'a b c', bytes: null, untilMs: 9, mark: null }
    const nothing = { presences: [], gone: [], acceptances: [], memberships: [] }
    await here.saveMemory({ ...nothing, acceptances: [acceptance], memberships: [membership] })
    expect(await there.acceptance('hash')).toEqual(acceptance)
    expect(await there.membership('a b c')).toEqual(membership)
    expect([await there.acceptance('x'), await there.membership('x')]).toEqual([undefined, undefined])
    const heard: StoreChange[] = []
    await there.watch((what) => heard.push(what))
    heard.length = 0
    const registry = 'registry.example.com' as RegistryHost
    for (let time = 0; time < 2; time += 1) await here.putRegistryNotOpen(registry)
    expect(await there.registriesNotOpen()).toEqual([registry])
    await expect.poll(() => heard, { timeout: 10_000 }).toContain('registriesNotOpen')
    const of = { cluster: CLUSTER, registry, digest: acceptance.digest, bytes: 5 }
    const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(40) as SwarmId) as [
      SwarmId,
      SwarmId,
      SwarmId,
    ]
    for (const swarm of [one, two]) await here.ensureSwarm({ ...of, swarm })
    await here.saveSwarm(two, 0, emptyChange({ epoch: 0, isConfirmed: false }))
    expect(await there.swarmVersions(CLUSTER, [one, two, three])).toEqual(
      new Map([
        [one, 0],
        [two, 1],
      ]),
    )
    for (const store of [here, there]) await store.close()
  })

  it('ends a step within five seconds while the server is frozen, and works again after', async () => {
    await database.empty()
    const connection = await database.connect()
    const store = postgresStore(connection)
    await store.nodes()
    const pids = (
      await database.server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
    )
      .trim()
      .split('\n')
      .map(Number)
    const freeze = (signal: NodeJS.Signals) => {
      for (const pid of [...pids, database.server.process.pid]) {
        try {
          process.kill(pid, signal)
        } catch {
          // psql's own ended.
        }
      }
    }
    freeze('SIGSTOP')
    try {
      const beganMs = performance.now()
      await expect(store.nodes()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
      expect(performance.now() - beganMs).toBeLessThan(6_000)
    } finally {
      freeze('SIGCONT')
    }
    await expect.poll(() => store.nodes().catch(() => undefined), { timeout: 10_000 }).toEqual([])
    await store.close()
  }, 30_000)
})
