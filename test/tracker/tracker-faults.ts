import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DATABASE, type PostgresServer, TRACKER_ROLE } from '../../lab/database/postgres-server.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from './test-database.ts'
import { type Fleet, type FleetTracker, startFleet } from './tracker-fleet.ts'

/** Four nodes that shared nothing would take four. */
const COPIES_MAX = 3
const LONGEST_SECONDS_MAX = 20
const HELD_MS = 4_000
const CLOCK = {
  LD_PRELOAD: '/usr/$LIB/faketime/libfaketime.so.1',
  FAKETIME: '+300s',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
}

interface Scene {
  fleet: Fleet
  database: TestDatabase
  standby: PostgresServer
}

interface Fault {
  name: string
  /** Before the pulls begin. */
  prepare?(scene: Scene): Promise<void>
  /** While they run; done when the fault is over. */
  inject(scene: Scene): Promise<void>
  after?(scene: Scene): Promise<void>
}

async function again(tracker: FleetTracker, how: Parameters<FleetTracker['start']>[0] = {}): Promise<void> {
  tracker.part.kill('SIGKILL')
  await tracker.part.ended
  await tracker.start(how)
}

async function whileFrozen(port: FleetTracker['door']): Promise<void> {
  port.freeze()
  await delay(HELD_MS)
  port.thaw()
}

/** The database fails over to its standby, and the old primary comes back beside it. The last one: the standby is used up. */
const FAILOVER: Fault = {
  name: 'database failed over',
  async prepare({ fleet, database: { server }, standby }) {
    const hosts = `localhost:${server.port},localhost:${standby.port}`
    const databaseUrl = `postgres://${TRACKER_ROLE}@${hosts}/${DATABASE}`
    await Promise.all(fleet.trackers.map((tracker) => again(tracker, { settings: { databaseUrl } })))
  },
  async inject({ database: { server }, standby }) {
    server.process.kill('SIGKILL')
    await server.process.ended
    await standby.promote()
    await delay(2_000)
    await server.run()
    await delay(2_000)
  },
  async after({ fleet, database: { server }, standby }) {
    const sinceMs = Date.now()
    await fleet.during(async () => undefined)
    const granted = `SELECT count(*) FROM shoal.pulls WHERE granted_at_ms > ${sinceMs}`
    expect(Number(await standby.sql(granted))).toBeGreaterThan(0)
    expect(Number(await server.sql(granted)), 'nobody uses the old primary').toBe(0)
  },
}

/** Those that run by default; each takes seven seconds and more. */
export const FEW_FAULTS: readonly Fault[] = [
  {
    name: 'one tracker killed',
    inject: async ({ fleet }) => again(fleet.trackers[0]!),
  },
  FAILOVER,
]

export const ALL_FAULTS: readonly Fault[] = [
  { name: 'none', inject: () => delay(2_000) },
  FEW_FAULTS[0]!,
  {
    name: 'one tracker paused',
    async inject({ fleet }) {
      fleet.trackers[1]!.part.kill('SIGSTOP')
      await delay(HELD_MS)
      fleet.trackers[1]!.part.kill('SIGCONT')
    },
  },
  { name: 'one tracker cut off from nodes', inject: ({ fleet }) => whileFrozen(fleet.trackers[2]!.door) },
  {
    name: 'one tracker cut off from the database',
    inject: ({ fleet }) => whileFrozen(fleet.trackers[2]!.line),
  },
  {
    name: 'the clock of one tracker five minutes off',
    prepare: ({ fleet }) => again(fleet.trackers[2]!, { env: CLOCK }),
    inject: () => delay(2_000),
    after: ({ fleet }) => again(fleet.trackers[2]!),
  },
  {
    name: 'four connections for three trackers',
    async inject({ database: { server } }) {
      const own = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${TRACKER_ROLE}'`
      await server.sql(`ALTER ROLE ${TRACKER_ROLE} CONNECTION LIMIT 4`)
      await server.sql(own)
      await delay(HELD_MS)
      await server.sql(`ALTER ROLE ${TRACKER_ROLE} CONNECTION LIMIT -1`)
    },
  },
  {
    name: 'database 200 ms slower',
    async inject({ fleet }) {
      for (const { line } of fleet.trackers) line.delayMs = 100
      await delay(HELD_MS)
      for (const { line } of fleet.trackers) line.delayMs = 0
    },
  },
  {
    name: 'database restarted',
    async inject({ database: { server } }) {
      server.process.kill('SIGINT')
      await server.process.ended
      await delay(500)
      await server.run()
    },
  },
  FAILOVER,
]

/** Nodes pull one cold blob after the other through three trackers, during each of the faults. */
export function describeFaults(faults: readonly Fault[]): void {
  describe.skipIf(mustSkipPostgres())('three trackers on one database', () => {
    let scene: Scene
    const table = ['fault | pulls | failed | direct | copies | longest pull']
    beforeAll(async () => {
      const database = await startTestDatabase()
      const { server } = database
      const standby = await server.startStandby({
        name: 'standby',
        folder: `${server.socketFolder}-standby`,
        listen: { host: 'localhost', port: await freePort() },
      })
      scene = { fleet: await startFleet(database, { trackers: 3, nodes: 4 }), database, standby }
    }, 120_000)
    afterAll(async () => {
      console.info(table.join('\n'))
      await scene?.fleet.close()
      await scene?.database.close()
    })

    test.each(faults)(
      'fail no pull: $name',
      async ({ name, prepare, inject, after }) => {
        await prepare?.(scene)
        const { pulls, failed, direct, copies, longestSeconds } = await scene.fleet.during(() =>
          inject(scene),
        )
        table.push([name, pulls, failed, direct, copies, `${longestSeconds} s`].join(' | '))
        expect(failed).toBe(0)
        expect(copies).toBeLessThan(COPIES_MAX)
        expect(longestSeconds).toBeLessThan(LONGEST_SECONDS_MAX)
        await after?.(scene)
      },
      90_000,
    )
  })
}
