import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { batchKeyToRaw } from '../../core/hash-batch.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { type AdminWorld, startAdminWorld } from './admin-world.ts'
import { LAYER, SMALL, startWorld, type TestCluster, type World } from './test-tracker.ts'

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

describe('who writes rows of administrators', () => {
  let world: AdminWorld
  beforeEach(async () => {
    world = await startAdminWorld()
    await world.tracker.close()
  })
  afterEach(() => world.close())

  const write = (sql: string) => {
    const database = new DatabaseSync(join(world.dataDir, 'tracker.sqlite'))
    expect(database.prepare(sql).run().changes).toBe(1)
    database.close()
  }
  const standing = async (token: string) => {
    const { status, body } = await world.withToken(token, 'self.show')
    return status === 200 ? body.role : body.error.code
  }

  it.each([
    ['without a seal', 'NULL'],
    ['with the seal of another row', "(SELECT sealed FROM admin_tokens WHERE name = 'the-admin')"],
    ['with a seal of something else', '(SELECT sealed_key FROM authorities LIMIT 1)'],
  ])('makes himself no administrator, %s; the token can be withdrawn', async (_, seal) => {
    const token = `SHOALADMIN-1-${randomBytes(32).toString('base64url')}`
    const hash = createHash('sha256').update(token).digest('hex')
    write(
      `INSERT INTO admin_tokens VALUES ('mallory', 'admin', '${hash}', 1, ${Date.now() + 3_600_000}, ${seal})`,
    )
    await world.restart()
    expect(await standing(token)).toBe('LOGIN_REFUSED')
    expect(await standing(world.tokens.admin)).toBe('admin')
    expect(world.logged()).toContain('"code":"UNSEAL"')
    expect((await world.socket('adminTokens.withdraw', { name: 'mallory' })).status).toBe(200)
  })

  it.each([
    ['raises no role', "role = 'admin'"],
    ['makes no token last longer', 'ends_at_ms = ends_at_ms + 1'],
  ])('%s: the token ends', async (_, change) => {
    write(`UPDATE admin_tokens SET ${change} WHERE name = 'the-reader'`)
    await world.restart()
    expect(await standing(world.tokens.reader)).toBe('LOGIN_REFUSED')
    expect(await standing(world.tokens.operator)).toBe('operator')
  })

  it('stops no change of the key, after which tokens go on', async () => {
    write(
      `INSERT INTO admin_tokens SELECT 'mallory', role, 'x', 1, 2, substr(sealed, 2) FROM admin_tokens LIMIT 1`,
    )
    write(`INSERT INTO token_keys VALUES ('x', '{}', 1, 2, NULL, x'00')`)
    await world.restart()
    const unlockKey = readFileSync(world.config.unlockKeyFile!, 'utf8').trim()
    expect((await world.socket('keys.reseal', { unlockKey })).status).toBe(200)
    expect(await standing(world.tokens.reader)).toBe('reader')
    await world.restart()
    expect(await standing(world.tokens.reader)).toBe('reader')
  })
})

/** Of one of the blobs: with it, and as a stranger. */
const ASKED_ABOUT_A_TOKEN = 2
const BOTH = [SMALL, LAYER].map((blob) => ({ ...blob, isWanted: true }))

describe('who writes rows of what a tracker found out about a registry', () => {
  let world: World
  let cluster: TestCluster
  beforeEach(async () => {
    world = await startWorld()
    cluster = await world.makeCluster()
    // The pull probes the key; its answers are saved when the tracker ends.
    expect((await (await world.joined(cluster)).pull({ blobs: [{ ...LAYER, isWanted: true }] })).status).toBe(
      200,
    )
    await world.tracker.close()
  })
  afterEach(() => world.close())

  const write = (sql: string) => {
    const database = new DatabaseSync(join(world.dataDir, 'tracker.sqlite'))
    expect(database.prepare(sql).run().changes).toBe(1)
    database.close()
  }
  const trusted = async () =>
    (await world.admin().request('GET', '/admin/v1/token-keys')).body.tokenKeys.length as number
  /** How often the registry was asked for a pull of both blobs with a new token. */
  const asked = async () => {
    const before = world.registry.requests.length
    const { status } = await (await world.joined(cluster)).pull({ blobs: BOTH })
    expect(status).toBe(200)
    return world.registry.requests.length - before
  }

  it('must not be needed: the key is trusted, and the registry asked about the new token only', async () => {
    await world.restart()
    expect(await trusted()).toBe(1)
    expect(await asked()).toBe(ASKED_ABOUT_A_TOKEN)
  })

  it.each([
    ['an issuer of his own', `UPDATE token_keys SET key = replace(key, '"issuer":"', '"issuer":"his ')`],
    ['a longer trust', 'UPDATE token_keys SET trusted_until_ms = trusted_until_ms + 1'],
    ['no seal', 'UPDATE token_keys SET sealed = NULL'],
    [
      'a seal of something else',
      'UPDATE token_keys SET sealed = (SELECT sealed_hash FROM join_tokens LIMIT 1)',
    ],
  ])('makes no token key trusted (%s); the registry is asked again', async (_, sql) => {
    write(sql)
    await world.restart()
    expect(await trusted()).toBe(0)
    expect(world.logged()).toContain('"code":"UNSEAL"')
    expect(await asked()).toBeGreaterThan(ASKED_ABOUT_A_TOKEN)
    expect(await trusted()).toBe(1)
  })

  it('may only take a key away', async () => {
    write('UPDATE token_keys SET withdrawn_at_ms = 1')
    await world.restart()
    const { body } = await (await world.joined(cluster)).pull()
    expect(body.error.code).toBe('TOKEN_KEY_UNTRUSTED')
  })

  it('says of no blob that it is in a repository', async () => {
    write(`UPDATE memberships SET until_ms = until_ms + 1 WHERE id LIKE '%${LAYER.digest}'`)
    await world.restart()
    expect(await asked()).toBe(ASKED_ABOUT_A_TOKEN + 1)
  })
})
