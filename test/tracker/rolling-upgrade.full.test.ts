import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DATABASE_PASSWORD, OWNER_ROLE, TRACKER_ROLE } from '../../lab/database/postgres-server.ts'
import { OWN_PROGRAM } from '../../lab/loopback/cluster.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'
import { migratePostgres } from '../../tracker/store/postgres/migrate.ts'
import { unpackRelease } from '../pull/previous-release.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from './test-database.ts'
import { type Fleet, startFleet } from './tracker-fleet.ts'

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))
const SCHEMA_FILE = 'tracker/store/postgres/schema.ts'
const NO_HISTORY = { kind: 'git’s history', lacks: [], remedy: 'git fetch --unshallow' }

/** The newest commit whose program knows fewer migrations of PostgreSQL; undefined without git's history. */
function commitOfOlderSchema(): string | undefined {
  const git = (...argv: string[]) => {
    const { status, stdout } = spawnSync('git', ['-C', PACKAGE, ...argv], { encoding: 'utf8' })
    return status === 0 ? stdout.trim() : ''
  }
  const changed = git('log', '-1', '--format=%H', '-G^  \\{ sql: ', '--', SCHEMA_FILE)
  const older = changed && git('rev-parse', '--verify', '--quiet', `${changed}^`)
  return older && git('cat-file', '-t', `${older}:${SCHEMA_FILE}`) === 'blob' ? older : undefined
}

const commit = commitOfOlderSchema()
const isSkipped = mustSkipPostgres() || (commit === undefined && isSkippedFor([NO_HISTORY]))

describe.skipIf(isSkipped)('trackers that are upgraded one after the other', () => {
  let database: TestDatabase
  let fleet: Fleet
  let older: string
  beforeAll(async () => {
    database = await startTestDatabase()
    const { server, config } = database
    older = unpackRelease(commit!, `${server.socketFolder}-older`)
    await server.sql('DROP SCHEMA shoal CASCADE')
    const url = ['--database-url', server.url(OWNER_ROLE), '--database-ca-file', config.databaseCaFile]
    await server.processes.run({
      argv: [process.execPath, older, 'tracker', 'migrate', ...url],
      input: DATABASE_PASSWORD,
      timeoutMs: 30_000,
    })
    fleet = await startFleet(database, { trackers: 2, nodes: 2, program: older })
  }, 120_000)
  afterAll(async () => {
    await fleet?.close()
    if (database) rmSync(`${database.server.socketFolder}-older`, { recursive: true, force: true })
    await database?.close()
  })

  test('serve pulls all the while, the older ones on the newer schema too', async () => {
    const upgrade = async () => {
      const owner = await database.connect(OWNER_ROLE)
      expect(await migratePostgres(owner, TRACKER_ROLE)).toBeGreaterThan(0)
      await owner.close()
      for (const tracker of fleet.trackers) {
        await tracker.part.stop()
        await tracker.start({ program: OWN_PROGRAM })
      }
    }
    const { failed, pulls, copies } = await fleet.during(upgrade)
    expect(failed).toBe(0)
    expect(pulls).toBeGreaterThan(4)
    expect(copies).toBeLessThan(2.5)
  }, 90_000)

  test('of before do not start any more on a schema that says so', async () => {
    const { server } = database
    await server.sql('UPDATE shoal.migrations SET oldest_program = number')
    const [tracker] = fleet.trackers
    await tracker!.part.stop()
    await expect(tracker!.start({ program: older })).rejects.toThrow(/newer version of Shoal/)
  }, 60_000)
})
