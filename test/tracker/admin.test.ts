import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { adminTlsFiles, trackerConfig } from '../../tracker/config.ts'
import {
  newClusterSecrets,
  newKey,
  publicKeyOf,
  startWorld,
  type TestCaller,
  type World,
} from './test-tracker.ts'

describe('the admin API', () => {
  let world: World
  let admin: TestCaller

  beforeAll(async () => {
    world = await startWorld()
    admin = world.admin()
  })
  afterAll(() => world.close())

  it('is opened through a socket that its owner alone may connect to, and leaves no key in the folder', () => {
    expect(statSync(join(world.dataDir, ADMIN_SOCKET)).mode & 0o777).toBe(0o600)
    expect(readdirSync(world.dataDir)).not.toContain('admin.pem')
  })

  it('creates a cluster that nodes can join at once, and lists it without its secrets', async () => {
    const { cluster, joinToken, joinTokenHash } = newClusterSecrets()
    const { status, body } = await admin.post('/admin/v1/clusters', { cluster, name: 'web', joinTokenHash })
    expect([status, body]).toEqual([201, { cluster, name: 'web' }])
    const node = world.newNode()
    expect((await node.join(joinToken)).status).toBe(200)
    expect((await node.heartbeat()).status).toBe(200)
    const list = await admin.request('GET', '/admin/v1/clusters')
    expect(list.body.clusters).toMatchObject([{ cluster, name: 'web' }])
    expect(JSON.stringify(list.body)).not.toMatch(new RegExp(`${joinTokenHash}|PRIVATE`))
    const nodes = await admin.request('GET', `/admin/v1/nodes?cluster=${cluster}`)
    expect(nodes.body.nodes).toMatchObject([{ cluster, node: node.node, address: '127.0.0.1' }])
  })

  const made = newClusterSecrets()
  const existing = { cluster: made.cluster, name: 'lab', joinTokenHash: made.joinTokenHash }
  const hash = { hash: 'a'.repeat(64) }

  it.each([
    ['the same cluster twice', 'POST', '/admin/v1/clusters', () => existing, 409, 'CLUSTER_EXISTS'],
    [
      'a cluster without a name',
      'POST',
      '/admin/v1/clusters',
      () => ({ ...existing, name: '' }),
      400,
      'INVALID_INPUT',
    ],
    [
      'an unknown key',
      'POST',
      '/admin/v1/clusters',
      () => ({ ...existing, joinToken: 'x' }),
      400,
      'INVALID_INPUT',
    ],
    [
      'a token for no cluster',
      'PUT',
      '/admin/v1/clusters/c0000000000000000/join-token',
      () => hash,
      404,
      'CLUSTER_UNKNOWN',
    ],
    [
      'a revocation of nothing',
      'POST',
      '/admin/v1/revocations',
      () => ({ cluster: existing.cluster }),
      400,
      'INVALID_INPUT',
    ],
    [
      'a revocation of a pull that does not exist',
      'POST',
      '/admin/v1/revocations',
      () => ({ cluster: existing.cluster, pull: 'a'.repeat(32) }),
      404,
      'PULL_UNKNOWN',
    ],
    [
      'a clearing of nothing',
      'DELETE',
      '/admin/v1/revocations/999',
      () => undefined,
      404,
      'REVOCATION_UNKNOWN',
    ],
    [
      'a pause of no cluster',
      'PUT',
      '/admin/v1/clusters/c0000000000000000/pause',
      () => ({}),
      404,
      'CLUSTER_UNKNOWN',
    ],
    [
      'a pause of no node',
      'PUT',
      `/admin/v1/clusters/${existing.cluster}/nodes/${'0'.repeat(40)}/pause`,
      () => ({}),
      404,
      'NODE_UNKNOWN',
    ],
    [
      'a pause with a word too much',
      'PUT',
      `/admin/v1/clusters/${existing.cluster}/pause`,
      () => ({ forHours: 1 }),
      400,
      'INVALID_INPUT',
    ],
    ['too long an audit', 'GET', '/admin/v1/audit?limit=5000', () => undefined, 400, 'INVALID_INPUT'],
  ])('refuses %s', async (_, method, path, body, status, code) => {
    const { cluster, name, joinTokenHash } = existing
    await admin.post('/admin/v1/clusters', { cluster, name, joinTokenHash })
    const answer = await admin.request(method, path, body())
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  it('lets nobody in over TLS without an admin certificate, not even a node', async () => {
    const { ca } = await world.adminIdentity()
    const bare = await world.remoteAdmin({ ca }).request('GET', '/admin/v1/clusters')
    expect([bare.status, bare.body.error.code]).toEqual([401, 'LOGIN_REQUIRED'])
    const node = await world.joined(await world.makeCluster('curious'))
    const disguised = await world.remoteAdmin({ ca, ...node.identity }).request('GET', '/admin/v1/clusters')
    expect([disguised.status, disguised.body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
  })

  it('opens over TLS to a certificate that the socket gave, until it ends, also on an open connection', async () => {
    const remote = world.remoteAdmin(await world.adminIdentity())
    const { cluster, joinTokenHash } = newClusterSecrets()
    expect((await remote.post('/admin/v1/clusters', { cluster, name: 'far', joinTokenHash })).status).toBe(
      201,
    )
    const { entries } = (await admin.request('GET', '/admin/v1/audit?limit=2')).body
    const [made, issued] = entries
    expect(issued).toMatchObject({ action: 'admin certificate issued', actor: 'operator' })
    expect(made).toMatchObject({ action: 'cluster created', actor: `admin ${issued.target}` })
    world.clockOffsetMs = 3601 * 1000
    const late = await remote.request('GET', '/admin/v1/clusters')
    world.clockOffsetMs = 0
    expect([late.status, late.body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
  })

  it.each([
    ['too long a life', { validForSeconds: 24 * 3600 + 1 }],
    ['no life', { validForSeconds: 0 }],
    ['a key of another kind', { publicKey: 'AAAA' }],
  ])('certifies nobody with %s', async (_, changes) => {
    const asked = { publicKey: publicKeyOf(newKey()), validForSeconds: 3600, ...changes }
    const { status, body } = await admin.post('/admin/v1/certificates', asked)
    expect([status, body.error.code]).toEqual([400, 'INVALID_INPUT'])
  })

  it('pages through the audit log, newest first', async () => {
    const first = (await admin.request('GET', '/admin/v1/audit?limit=1')).body.entries
    expect(first).toHaveLength(1)
    const next = await admin.request('GET', `/admin/v1/audit?limit=1&cursor=${first[0].sequence}`)
    expect(next.body.entries[0].sequence).toBeLessThan(first[0].sequence)
  })

  it('answers health and metrics to anyone on this machine', async () => {
    const anyone = world.remoteAdmin({ ca: (await world.adminIdentity()).ca })
    expect((await anyone.request('GET', '/healthz')).body).toEqual({ status: 'ok' })
    const { status, body } = await anyone.request('GET', '/metrics')
    expect(status).toBe(200)
    expect(body).toContain('shoal_tracker_pull_grants_total 0')
    expect(body).toContain('shoal_tracker_refusals_total{code="LOGIN_REQUIRED"}')
  })

  it('refuses a client certificate for a registry that is open to whoever shows it', () => {
    const { config } = world
    const identity = { clientCertFile: '/etc/client.pem', clientKeyFile: '/etc/client.key' }
    const parsed = (registry: object) =>
      trackerConfig.safeParse({
        ...config,
        ...{ listen: '127.0.0.1:0', adminListen: '127.0.0.1:0' },
        registries: [{ host: 'registry.example', ...registry }],
      })
    expect([{ kind: 'none' }, identity].map((it) => parsed(it).success)).toEqual([true, true])
    const { error } = parsed({ kind: 'none', ...identity })
    expect(error?.issues).toMatchObject([
      { path: ['registries'], message: expect.stringContaining('clientCertFile') },
    ])
  })

  it('listens on loopback, or on other addresses with a certificate for them', () => {
    const config = { ...world.config, adminTlsKeyFile: undefined, adminTlsCertFile: undefined }
    const at = (host: string) => () => adminTlsFiles({ ...config, adminListen: { host, port: 1 } })
    for (const host of ['127.0.0.1', '::1', 'localhost']) expect(at(host)()).toBeUndefined()
    for (const host of ['0.0.0.0', '10.0.0.1', '127.evil.example', '::']) {
      expect(at(host)).toThrow(expect.objectContaining({ code: 'CONFIG' }))
      const { tlsCertFile: adminTlsCertFile, tlsKeyFile: adminTlsKeyFile } = config
      const listening = { adminListen: { host, port: 1 }, adminTlsCertFile }
      expect(() => adminTlsFiles({ ...config, ...listening })).toThrow('belong together')
      expect(adminTlsFiles({ ...config, ...listening, adminTlsKeyFile })?.current.certificatePem).toContain(
        'CERTIFICATE',
      )
    }
  })
})
