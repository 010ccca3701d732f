import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import type { ClusterId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { hasPooler, startPooler } from '../../lab/database/pooler.ts'
import { DATABASE, TRACKER_ROLE } from '../../lab/database/postgres-server.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'
import type { StoreChange } from '../../tracker/store/changes.ts'
import { openStore } from '../../tracker/store/open-store.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from './test-database.ts'

const CLUSTER = `c${'1'.repeat(16)}` as ClusterId
const AUDIT = { atMs: 1, actor: 'a', action: 'b', cluster: CLUSTER, target: 'c' }
const NO_POOLER = { kind: 'a pooler', lacks: ['pgbouncer'], remedy: 'apt install pgbouncer' }
const isSkipped = mustSkipPostgres() || (!hasPooler() && isSkippedFor([NO_POOLER]))

describe.skipIf(isSkipped)('trackers behind a pooler in transaction mode', () => {
  let database: TestDatabase
  let config: Parameters<typeof openStore>[0]
  const reconnect = async () =>
    void (await database.server.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${TRACKER_ROLE}'`,
    ))
  beforeAll(async () => {
    database = await startTestDatabase()
    const { server } = database
    const authority = await makeAuthority({ commonName: 'pooler authority', validForSeconds: 3600 })
    const folder = `${server.socketFolder}-pooler`
    const { url } = await startPooler({
      ...{ processes: server.processes, folder, server, connections: 2 },
      listen: { host: 'localhost', port: await freePort() },
      certificate: await issueForLocalhost(authority),
    })
    writeFileSync(
      join(folder, 'authorities.crt'),
      [authority.certificatePem, readFileSync(database.config.databaseCaFile, 'utf8')].join('\n'),
    )
    const databaseCaFile = join(folder, 'authorities.crt')
    config = {
      ...database.config,
      databaseUrl: url,
      databaseListenUrl: server.url(),
      databaseCaFile,
      dataDir: '',
    }
  })
  afterAll(() => database?.close())

  it('are told what their role lacks, and do not start', async () => {
    const unset = await openStore(config).catch((error: unknown) => error)
    expect(unset).toMatchObject({
      code: 'STORE_UNUSABLE',
      hint: expect.stringContaining('SET search_path = shoal,pg_temp'),
    })
    await database.server.sql(
      `ALTER ROLE ${TRACKER_ROLE} IN DATABASE ${DATABASE} SET search_path = shoal, pg_temp`,
    )
    await reconnect()
    await (await openStore(config)).close()
  })

  it('use two connections for many steps at once, and hear of changes past the pooler', async () => {
    const [here, there] = [await openStore(config), await openStore(config)]
    const heard: StoreChange[] = []
    await here.watch((what) => heard.push(what))
    heard.length = 0
    await there.putPause({ cluster: CLUSTER, node: null, atMs: 1 }, AUDIT)
    await expect.poll(() => heard, { timeout: 10_000 }).toContain('pauses')
    const swarms = Array.from({ length: 40 }, (_, at) => at.toString(16).padStart(40, '0') as SwarmId)
    const of = {
      cluster: CLUSTER,
      registry: 'registry.example.com' as RegistryHost,
      digest: digestFromHex('d'.repeat(64)),
    }
    await Promise.all(
      swarms.map((swarm, at) => [here, there][at % 2]!.ensureSwarm({ ...of, swarm, bytes: 5 })),
    )
    const versions = await Promise.all(swarms.map((swarm) => there.swarmVersion(CLUSTER, swarm)))
    expect(versions).toEqual(swarms.map(() => 0))
    const using = `SELECT count(*) FROM pg_stat_activity WHERE usename = '${TRACKER_ROLE}' AND application_name <> 'shoal-tracker listens'`
    expect(Number(await database.server.sql(using))).toBeLessThanOrEqual(2)
    for (const store of [here, there]) await store.close()
  })
})
