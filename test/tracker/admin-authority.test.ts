import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ADMIN_CERTIFICATE_SECONDS_MAX } from '../../core/admin-api/administrators.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { MIGRATIONS } from '../../tracker/store/schema.ts'
import { startWorld, type TestCaller, type World } from './test-tracker.ts'

const PATH = '/admin/v1/admin-authorities'

describe('the authority of the admin API', () => {
  let world: World
  beforeEach(async () => {
    world = await startWorld()
  })
  afterEach(() => world.close())

  const rotate = (isLeaked = false) => world.admin().post(PATH, { isLeaked })
  const withdraw = () => world.admin().post(`${PATH}/withdrawal`, {})
  const askedBy = async (caller: TestCaller) => {
    const { status, body } = await caller.request('GET', '/admin/v1/clusters')
    return status === 200 ? 'let in' : body.error.code
  }
  const actions = async () => {
    const { body } = await world.admin().request('GET', '/admin/v1/audit')
    return body.entries.map(({ action }: { action: string }) => action)
  }

  it('is changed while old certificates count on, until it is withdrawn, also on open connections', async () => {
    const before = await world.adminIdentity()
    const open = world.remoteAdmin(before)
    expect(await askedBy(open)).toBe('let in')
    const { status, body } = await rotate()
    expect(status).toBe(201)
    expect(body.previousEndsAtMs - Date.now()).toBeGreaterThan((ADMIN_CERTIFICATE_SECONDS_MAX - 60) * 1000)
    const after = await world.adminIdentity()
    // Each recognises the listener by the authorities that it was given.
    for (const identity of [before, after]) expect(await askedBy(world.remoteAdmin(identity))).toBe('let in')

    expect((await withdraw()).status).toBe(200)
    expect(await askedBy(open)).toBe('CERTIFICATE_REFUSED')
    const disguised = world.remoteAdmin({ ...before, ca: after.ca })
    expect(await askedBy(disguised)).toBe('CERTIFICATE_REFUSED')
    expect(await askedBy(world.remoteAdmin(after))).toBe('let in')
    expect((await withdraw()).body.error.code).toBe('ROTATION_NONE')
    const recorded = await actions()
    expect(recorded).toContain('admin authority added')
    expect(recorded).toContain('admin authority withdrawn')
  })

  it('after a leak ends every certificate in the same step, also in the middle of a change', async () => {
    const first = await world.adminIdentity()
    await rotate()
    expect((await rotate()).body.error.code).toBe('ROTATION_UNDER_WAY')
    const second = await world.adminIdentity()
    expect((await rotate(true)).body).toEqual({ previousEndsAtMs: null })
    const { ca } = await world.adminIdentity()
    for (const identity of [first, second]) {
      expect(await askedBy(world.remoteAdmin({ ...identity, ca }))).toBe('CERTIFICATE_REFUSED')
    }
    await world.restart()
    expect(await askedBy(world.remoteAdmin({ ...first, ca }))).toBe('CERTIFICATE_REFUSED')
  })

  it('stays as it is over a restart, and goes by itself when its last certificate has ended', async () => {
    const before = await world.adminIdentity()
    await rotate()
    await world.restart()
    expect(await askedBy(world.remoteAdmin(before))).toBe('let in')
    world.clockOffsetMs = ADMIN_CERTIFICATE_SECONDS_MAX * 1000
    await world.restart()
    expect((await withdraw()).body.error.code).toBe('ROTATION_NONE')
  })
})

describe('a tracker that kept its administrator in admin.pem', () => {
  let world: World
  afterEach(() => world.close())

  it('starts with another admin authority, and without the file: the old certificate counts no more', async () => {
    world = await startWorld()
    const old = await oldInstallation(join(world.dataDir, '../old'))
    await world.restart({ dataDir: old.dataDir })
    expect(existsSync(old.pemFile)).toBe(false)
    expect(world.logged()).toContain('an old admin.pem was removed')
    const { ca } = await world.adminIdentity(old.dataDir)
    const remote = world.remoteAdmin({ ...old.identity, ca })
    const { status, body } = await remote.request('GET', '/admin/v1/clusters')
    expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
  })
})

/** The store of the version before, with an admin authority and the certificate of a year that it gave. */
async function oldInstallation(dataDir: string) {
  mkdirSync(dataDir, { mode: 0o700 })
  const authority = await makeAuthority({ commonName: 'shoal tracker admin', validForSeconds: 3600 })
  const admin = await issueLeaf(authority, {
    commonName: 'shoal administrator',
    validForSeconds: 3600,
    names: [{ type: 'url', value: 'urn:shoal:kind:admin' }],
    usages: ['clientAuth'],
  })
  const pemFile = join(dataDir, 'admin.pem')
  writeFileSync(pemFile, admin.privateKeyPem + admin.certificatePem + authority.certificatePem)
  const database = new DatabaseSync(join(dataDir, 'tracker.sqlite'))
  for (const sql of MIGRATIONS.slice(0, 2)) database.exec(sql)
  database.exec('PRAGMA user_version = 2')
  const insert = database.prepare("INSERT INTO authorities VALUES ('', ?, ?, ?)")
  insert.run(Date.now(), authority.certificatePem, Buffer.from('sealed'))
  database.close()
  return { dataDir, pemFile, identity: { cert: admin.certificatePem, key: admin.privateKeyPem } }
}
