import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ADMIN_CALLER_BOUNDS } from '../../tracker/admin/callers.ts'
import { ADMIN_TOKENS_MAX } from '../../tracker/authority/admin-tokens.ts'
import { type AdminWorld, startAdminWorld } from './admin-world.ts'
import type { Answer } from './test-tracker.ts'

const codeOf = ({ status, body }: Answer) => (status < 300 ? 'done' : (body.error.code as string))

describe("an administrator's token", () => {
  let world: AdminWorld
  beforeEach(async () => {
    world = await startAdminWorld()
  })
  afterEach(() => world.close())

  const ask = async (token: string) => codeOf(await world.withToken(token, 'clusters.list'))

  it('counts over a restart, until it ends, also on an open connection', async () => {
    const token = await world.newToken('short', 'reader', 120)
    expect(await ask(token)).toBe('done')
    expect((await world.withToken(token, 'self.show')).body).toMatchObject({
      name: 'token short',
      role: 'reader',
    })
    await world.restart()
    expect(await ask(token)).toBe('done')
    world.clockOffsetMs = 119_000
    expect(await ask(token)).toBe('done')
    world.clockOffsetMs = 121_000
    expect(await ask(token)).toBe('LOGIN_REFUSED')
  })

  it('ends at once when it is withdrawn; its name is free again, and so is that of an ended one', async () => {
    const token = await world.newToken('alice', 'operator', 120)
    await expect(world.newToken('alice', 'reader')).rejects.toThrow('409')
    expect(codeOf(await world.socket('adminTokens.withdraw', { name: 'alice' }))).toBe('done')
    expect(await ask(token)).toBe('LOGIN_REFUSED')
    expect(codeOf(await world.socket('adminTokens.withdraw', { name: 'alice' }))).toBe('ADMIN_TOKEN_UNKNOWN')
    const next = await world.newToken('alice', 'reader', 120)
    world.clockOffsetMs = 121_000
    const last = await world.newToken('alice', 'reader', 120)
    expect([await ask(token), await ask(next), await ask(last)]).toEqual([
      'LOGIN_REFUSED',
      'LOGIN_REFUSED',
      'done',
    ])
  })

  it('is nowhere in the data folder, the log, the list or the audit log; its name is, with what it changed', async () => {
    const token = await world.newToken('bob', 'admin')
    const cluster = { cluster: 'c1111111111111111', name: 'made', joinTokenHash: 'a'.repeat(64) }
    expect(codeOf(await world.withToken(token, 'clusters.create', cluster))).toBe('done')
    const list = await world.withToken(token, 'adminTokens.list')
    const audit = await world.withToken(token, 'audit.list', { limit: 5 })
    expect(audit.body.entries[0]).toMatchObject({ actor: 'token bob', action: 'cluster created' })
    expect(audit.body.entries[1]).toMatchObject({
      actor: 'operator',
      action: 'admin token created (admin)',
      target: 'bob',
    })
    const files = readdirSync(world.dataDir).map((name) => join(world.dataDir, name))
    const kept = files.filter((path) => statSync(path).isFile()).map((path) => readFileSync(path, 'latin1'))
    const secret = token.slice('SHOALADMIN-1-'.length)
    const told = [...kept, world.logged(), JSON.stringify(list.body), JSON.stringify(audit.body)]
    expect(told.filter((text) => text.includes(secret))).toEqual([])
    expect(JSON.stringify(list.body)).not.toMatch(/hash|[0-9a-f]{64}/)
  })

  it('is more than a certificate beside it: the role of the token counts', async () => {
    const remote = world.remoteAdmin(await world.adminIdentity())
    const authorization = `Bearer ${world.tokens.reader}`
    const asked = async (headers: Record<string, string>) =>
      codeOf(await remote.request('PUT', '/admin/v1/clusters/c0000000000000000/pause', {}, headers))
    expect([await asked({}), await asked({ authorization })]).toEqual(['CLUSTER_UNKNOWN', 'ROLE_TOO_LOW'])
  })

  it('is not found by guessing: failed logins of an address are bounded, and lock nobody out', async () => {
    const guesses = ['', 'Basic YTpi', 'Bearer', 'Bearer x', `Bearer SHOALADMIN-1-${'A'.repeat(43)}`]
    const remote = world.remoteAdmin({ ca: (await world.adminIdentity()).ca })
    const guess = async (authorization: string) =>
      codeOf(await remote.request('GET', '/admin/v1/clusters', undefined, { authorization }))
    const codes = new Set<string>()
    for (let round = 0; round < 7; round++) for (const one of guesses) codes.add(await guess(one))
    expect([...codes]).toEqual(['LOGIN_REFUSED', 'REQUESTS_TOO_MANY'])
    expect(await ask(world.tokens.reader)).toBe('done')
    const certified = world.remoteAdmin(await world.adminIdentity())
    expect(codeOf(await certified.request('GET', '/admin/v1/clusters'))).toBe('done')
    expect(codeOf(await world.socket('clusters.list', {}))).toBe('done')
    const nobody = async () => codeOf(await remote.request('GET', '/admin/v1/clusters'))
    expect(await nobody()).toBe('REQUESTS_TOO_MANY')
    world.clockOffsetMs = 60_000
    expect(await nobody()).toBe('LOGIN_REQUIRED')
  })

  it('has a bounded number of requests and streams, so that the lowest role leaves room for others', async () => {
    const { ca } = await world.adminIdentity()
    const caller = world.remoteAdmin({ ca })
    const authorization = `Bearer ${world.tokens.reader}`
    const begun = Promise.withResolvers<void>()
    let open = 0
    const streams = Array.from({ length: ADMIN_CALLER_BOUNDS.requestsConcurrentMax }, () =>
      world.remoteAdmin({ ca }).stream('/admin/v1/events', { authorization }, (text) => {
        if (text.startsWith('event: fleet') && !text.includes('alive')) open += 1
        if (open === ADMIN_CALLER_BOUNDS.requestsConcurrentMax) begun.resolve()
        return text.includes('"target":"enough"')
      }),
    )
    await begun.promise
    const more = await caller.request('GET', '/admin/v1/clusters', undefined, { authorization })
    expect(codeOf(more)).toBe('REQUESTS_TOO_MANY')
    expect(codeOf(await world.withToken(world.tokens.operator, 'clusters.list'))).toBe('done')
    await world.newToken('enough', 'reader')
    await Promise.all(streams)
    expect(await ask(world.tokens.reader)).toBe('done')
  })

  it('of the lowest role shows no password among the settings', async () => {
    await world.restart({ upstreamProxy: 'http://shoal:hunter2@127.0.0.1:9' })
    const { settings } = (await world.withToken(world.tokens.reader, 'settings.list')).body
    const [shown] = settings.filter(({ name }: { name: string }) => name === 'upstreamProxy')
    expect(shown.value).toMatch(/^http:\/\/.*@127\.0\.0\.1:9$/)
    expect(JSON.stringify(settings)).not.toContain('hunter2')
  })

  it('is no certificate, which a browser shows whichever page asks', async () => {
    const remote = world.remoteAdmin(await world.adminIdentity())
    const asked = async (site: string) =>
      codeOf(
        await remote.request('POST', '/admin/v1/admin-authorities/withdrawal', undefined, {
          'sec-fetch-site': site,
        }),
      )
    expect([await asked('cross-site'), await asked('same-site'), await asked('same-origin')]).toEqual([
      'CERTIFICATE_REFUSED',
      'CERTIFICATE_REFUSED',
      'ROTATION_NONE',
    ])
  })

  it('that is right costs no failed login, however often it is shown', async () => {
    for (let count = 0; count < 40; count++) expect(await ask(world.tokens.reader)).toBe('done')
  })

  it('is one of a bounded number', async () => {
    const there = (await world.socket('adminTokens.list', {})).body.tokens.length
    for (let count = there; count < ADMIN_TOKENS_MAX; count++) await world.newToken(`t${count}`, 'reader')
    const hash = 'd'.repeat(64)
    const one = { name: 'more', role: 'reader', hash, validForSeconds: 60 }
    expect(codeOf(await world.socket('adminTokens.create', one))).toBe('ADMIN_TOKENS_TOO_MANY')
  })

  it.each([
    ['a name like the id of a join token', { name: '0123456789abcdef' }],
    ['a name with a slash', { name: 'a/b' }],
    ['no name', { name: '' }],
    ['another role', { role: 'root' }],
    ['a life of two years', { validForSeconds: 2 * 366 * 24 * 3600 }],
    ['no hash', { hash: 'x' }],
  ])('is not made with %s', async (_, changes) => {
    const fine = { name: 'fine', role: 'reader', hash: 'e'.repeat(64), validForSeconds: 60 }
    expect(codeOf(await world.socket('adminTokens.create', { ...fine, ...changes }))).toBe('INVALID_INPUT')
  })
})
