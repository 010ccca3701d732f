import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { batchKeyToRaw } from '../../core/hash-batch.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { startWorld, type World } from './test-tracker.ts'

const made = async () =>
  (await makeAuthority({ commonName: 'shoal authority of somebody', validForSeconds: 3600 })).certificatePem

const OF_CLUSTER = "cluster <> ''"
const OF_ADMINS = "cluster = ''"

describe('who writes rows of the store without its unlock key', () => {
  let world: World
  beforeEach(async () => {
    world = await startWorld()
    await world.makeCluster()
    await world.tracker.close()
  })
  afterEach(() => world.close())

  const write = (sql: string, ...values: string[]) => {
    const database = new DatabaseSync(join(world.dataDir, 'tracker.sqlite'))
    expect(database.prepare(sql).run(...values).changes).toBe(1)
    database.close()
  }
  const refusal = async () => {
    const failure = await world.restart().catch((error: unknown) => error)
    world.tracker = { ...world.tracker, close: async () => {} }
    return failure
  }

  it.each([OF_CLUSTER, OF_ADMINS])('adds no authority of his own beside a copied key (%s)', async (which) => {
    const copy = `INSERT INTO authorities SELECT cluster, created_at_ms + 1, ?, sealed_key FROM authorities WHERE ${which}`
    write(copy, await made())
    expect(await refusal()).toMatchObject({ code: 'UNSEAL' })
  })

  it.each([OF_CLUSTER, OF_ADMINS])('hides none behind a true certificate (%s)', async (which) => {
    write(`UPDATE authorities SET certificate_pem = certificate_pem || ? WHERE ${which}`, await made())
    expect(await refusal()).toMatchObject({ code: 'UNSEAL' })
  })

  it('puts no text in place of a certificate', async () => {
    write(`UPDATE authorities SET certificate_pem = ? WHERE ${OF_CLUSTER}`, 'no certificate')
    expect(await refusal()).toMatchObject({ code: 'UNSEAL' })
  })

  it('adds no key of his own to those that sign hashes', async () => {
    const publicKey = batchKeyToRaw(generateKeyPairSync('ed25519').privateKey)
    const copy =
      'INSERT INTO batch_keys SELECT cluster, created_at_ms + 1, ?, sealed_key, ends_at_ms FROM batch_keys'
    write(copy, publicKey)
    expect(await refusal()).toMatchObject({ code: 'UNSEAL' })
  })

  it('and a store that nobody touched opens', async () => {
    await world.restart()
    expect((await world.admin().request('GET', '/admin/v1/clusters')).status).toBe(200)
  })
})
