import { X509Certificate } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { publicKeyOf, startWorld, type TestCluster, type TestNode, type World } from './test-tracker.ts'

/** Three missed heartbeats of 5 s, and a little. */
const SETTLED_MS = 15_100
const DAY_MS = 24 * 3600 * 1000

describe('the authority of a cluster', () => {
  let world: World
  let lab: TestCluster
  let node: TestNode

  beforeEach(async () => {
    world = await startWorld()
    lab = await world.makeCluster()
    node = await world.joined(lab)
  })
  afterEach(() => world.close())

  const path = (of = lab) => `/admin/v1/clusters/${of.cluster}/authorities`
  const rotate = (of = lab) => world.admin().post(path(of), {})
  const leaked = () => world.admin().post(path(), { isLeaked: true })
  const withdraw = (isForced = false) => world.admin().post(`${path()}/withdrawal`, { isForced })
  const trusted = async () => (await node.heartbeat()).body.trust.authorities as string[]
  const isBy = (certificate: string, authority: string) =>
    new X509Certificate(certificate).verify(new X509Certificate(authority).publicKey)
  const renew = async (of: TestNode) => {
    const { body } = await of.post('/v1/nodes', { publicKey: publicKeyOf(of.key) })
    of.certificate = body.certificate
    await of.present(of.identity)
  }

  it('is changed in two steps: nodes trust the new one first, then it issues, and at last the old one goes', async () => {
    const [old] = await trusted()
    expect((await rotate()).status).toBe(201)
    const [first, second] = await trusted()
    expect(first).toBe(old)
    expect(isBy((await node.pull()).body.certificate, old!)).toBe(true)

    world.clockOffsetMs = SETTLED_MS
    const { body: granted } = await node.pull()
    expect(granted.trust.authorities).toEqual([second, old])
    expect(isBy(granted.certificate, second!)).toBe(true)
    // Both are let in meanwhile, on new connections too.
    await node.present(node.identity)
    expect((await node.heartbeat()).status).toBe(200)
    await renew(node)
    expect(isBy(node.certificate, second!)).toBe(true)
    expect((await node.heartbeat()).status).toBe(200)

    expect((await withdraw()).body).toMatchObject({ cluster: lab.cluster, nodesLeft: 0 })
    expect(await trusted()).toEqual([second])
  })

  it('when withdrawn lets no certificate of its in, on open connections and new ones, until the node joins again', async () => {
    const other = await world.joined(await world.makeCluster('other'))
    const { body: grantedBefore } = await node.pull()
    await rotate()
    world.clockOffsetMs = SETTLED_MS
    await withdraw(true)
    for (const isNew of [false, true]) {
      if (isNew) await node.present(node.identity)
      const { status, body } = await node.heartbeat()
      expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
    }
    const renewal = await node.post('/v1/nodes', { publicKey: publicKeyOf(node.key) })
    expect([renewal.status, renewal.body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
    expect((await other.heartbeat()).status).toBe(200)

    const before = node.node
    expect((await node.join(lab.joinToken)).status).toBe(200)
    expect(node.node).toBe(before)
    // The pull goes on under the new authority.
    const renewed = await node.post(`/v1/pulls/${grantedBefore.pull}/renew`, {})
    expect(isBy(renewed.body.certificate, (await trusted())[0]!)).toBe(true)
  })

  it('is not withdrawn while the new one does not issue, nor unasked while nodes hold its certificates', async () => {
    await rotate()
    const early = await withdraw(true)
    expect([early.status, early.body.error.code]).toEqual([409, 'ROTATION_TOO_EARLY'])
    world.clockOffsetMs = SETTLED_MS
    const used = await withdraw()
    expect([used.status, used.body.error.code]).toEqual([409, 'ROTATION_TOO_EARLY'])
    expect(used.body.error.message).toContain('1 node ')
    expect((await node.heartbeat()).status).toBe(200)
    await renew(node)
    expect((await withdraw()).status).toBe(200)
    const none = await withdraw()
    expect([none.status, none.body.error.code]).toEqual([409, 'ROTATION_NONE'])
  })

  it('after a leak renews nothing of the old one: every node joins again, and renews from then on', async () => {
    const other = await world.joined(await world.makeCluster('other'))
    expect((await leaked()).status).toBe(201)
    for (const offsetMs of [0, SETTLED_MS]) {
      world.clockOffsetMs = offsetMs
      const renewal = await node.post('/v1/nodes', { publicKey: publicKeyOf(node.key) })
      for (const { status, body } of [renewal, await node.heartbeat(), await node.pull()])
        expect([status, body.error.code]).toEqual([401, 'CERTIFICATE_REFUSED'])
    }
    const { body: nodes } = await world.admin().request('GET', `/admin/v1/nodes?cluster=${lab.cluster}`)
    expect(nodes.nodes).toEqual([])
    expect((await node.join(lab.joinToken)).status).toBe(200)
    expect(isBy(node.certificate, (await trusted())[0]!)).toBe(true)
    expect((await withdraw()).body).toMatchObject({ nodesLeft: 0 })
    await renew(node)
    expect((await node.heartbeat()).status).toBe(200)
    await renew(other)
    expect((await other.heartbeat()).status).toBe(200)
    const { entries } = (await world.admin().request('GET', '/admin/v1/audit')).body
    expect(entries.map(({ action }: { action: string }) => action)).toContain(
      'authority added after a leak, nodes must join again',
    )
  })

  it('names no cluster to whoever dials', async () => {
    const [authority] = await trusted()
    const next = (await world.makeCluster('other')).cluster
    const { body } = await world.admin().request('GET', '/admin/v1/clusters')
    const all = body.clusters.flatMap(({ authorities }: { authorities: string[] }) => authorities) as string[]
    const names = all.map((pem) => new X509Certificate(pem).subject)
    expect(names).toContain(new X509Certificate(authority!).subject)
    expect(new Set(names).size).toBe(2)
    for (const name of names) for (const id of [lab.cluster, next]) expect(name).not.toContain(id)
  })

  it('is changed once at a time', async () => {
    const answers = await Promise.all([rotate(), rotate()])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409])
    expect(answers.find(({ status }) => status === 409)!.body.error.code).toBe('ROTATION_UNDER_WAY')
    expect(await trusted()).toHaveLength(2)
    const unknown = await rotate({ ...lab, cluster: 'c0000000000000000' as never })
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'CLUSTER_UNKNOWN'])
  })

  it('goes by itself a day after the new one began to issue, when its last certificate has ended', async () => {
    await rotate()
    const [, next] = await trusted()
    world.clockOffsetMs = SETTLED_MS + DAY_MS - 60_000
    await world.restart()
    const authorities = async () =>
      (await world.admin().request('GET', '/admin/v1/clusters')).body.clusters[0].authorities
    expect(await authorities()).toHaveLength(2)
    world.clockOffsetMs = SETTLED_MS + DAY_MS
    await world.restart()
    expect(await authorities()).toEqual([next])
  })

  it('stays as it is when the tracker starts again in the middle', async () => {
    await rotate()
    const both = await trusted()
    await world.restart()
    await node.present(node.identity)
    expect(await trusted()).toEqual(both)
    world.clockOffsetMs = SETTLED_MS
    await world.restart()
    await node.present(node.identity)
    expect(await trusted()).toEqual(both.toReversed())
  })

  it('is changed on record: who, what, when, and no key', async () => {
    await rotate()
    world.clockOffsetMs = SETTLED_MS
    await withdraw(true)
    const { entries } = (await world.admin().request('GET', '/admin/v1/audit')).body
    const changes = entries.filter(({ action }: { action: string }) => action.startsWith('authority'))
    expect(changes).toMatchObject([
      { action: 'authority withdrawn', cluster: lab.cluster, actor: 'operator' },
      { action: 'authority added', cluster: lab.cluster, target: expect.stringMatching(/^[0-9a-f]{16}$/) },
    ])
    const { body } = await world.admin().request('GET', '/admin/v1/clusters')
    expect(JSON.stringify([body, entries])).not.toContain('PRIVATE')
  })
})
