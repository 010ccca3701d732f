import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { killTrackers } from './killed-trackers.ts'
import { mustSkipPostgres, startTestDatabase, type TestDatabase } from './test-database.ts'

describe.skipIf(mustSkipPostgres())('trackers that are killed at random moments', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await startTestDatabase()
  })
  afterAll(() => database?.close())

  test('ten times lose nothing that they acknowledged', async () => {
    const { acknowledged, lost } = await killTrackers(database, 10)
    expect(lost).toEqual([])
    for (const ids of Object.values(acknowledged)) expect(ids.length).toBeGreaterThan(5)
  }, 120_000)
})
