import { pino } from 'pino'
import { Client } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { networkOf, plainAddress } from '../../core/network.ts'
import { RequestLimits } from '../../tracker/request-limits.ts'
import { newKey, publicKeyOf, startWorld, type TestNode, type World } from './test-tracker.ts'

const silent = pino({ level: 'silent' })
const bounds = { requestsPerSecondMax: 2, requestsBurstMax: 4, requestsConcurrentMax: 0 }

describe('the limits of one caller', () => {
  it('let a burst pass, then the rate, and say when to come again', () => {
    const limits = new RequestLimits(bounds, silent)
    for (let request = 0; request < 4; request++) limits.enter('node', 1000)()
    expect(() => limits.enter('node', 1000)).toThrow(
      expect.objectContaining({ code: 'REQUESTS_TOO_MANY', retryAfterSeconds: 1 }),
    )
    limits.enter('node', 1500)()
    expect(() => limits.enter('node', 1500)).toThrow()
    for (let request = 0; request < 4; request++) limits.enter('node', 100_000)()
    expect(() => limits.enter('node', 100_000)).toThrow()
  })

  it('are not those of another, and a clock that is set back takes nothing', () => {
    const limits = new RequestLimits(bounds, silent)
    for (let request = 0; request < 4; request++) limits.enter('node', 1000)()
    limits.enter('other', 1000)()
    limits.enter('other', 0)()
  })

  it('bound what is under way, until it ends', () => {
    const limits = new RequestLimits({ ...bounds, requestsPerSecondMax: 0, requestsConcurrentMax: 2 }, silent)
    const leave = limits.enter('node', 0)
    limits.enter('node', 0)
    expect(() => limits.enter('node', 0)).toThrow(expect.objectContaining({ code: 'REQUESTS_TOO_MANY' }))
    leave()
    limits.enter('node', 0)
  })

  it('are none at 0', () => {
    const limits = new RequestLimits({ ...bounds, requestsPerSecondMax: 0 }, silent)
    for (let request = 0; request < 10_000; request++) limits.enter('node', 0)
  })
})

describe('callers without a certificate', () => {
  it.each([
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:ffff::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8::2:0:0:1', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1::', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['192.0.2.1', '192.0.2.1'],
    ['', ''],
  ])('at %s count as %s', (address, network) => {
    expect(networkOf(plainAddress(address))).toBe(network)
  })

  it('share one limit in a /64 of IPv6, and have their own in another', () => {
    const limits = new RequestLimits(bounds, silent)
    for (let host = 1; host <= 4; host++) limits.enter(networkOf(`2001:db8:1:2::${host}`), 1000)()
    expect(() => limits.enter(networkOf('2001:db8:1:2:ffff::5'), 1000)).toThrow(
      expect.objectContaining({ code: 'REQUESTS_TOO_MANY' }),
    )
    limits.enter(networkOf('2001:db8:1:3::1'), 1000)()
  })
})

describe('a tracker that grants so many pulls', () => {
  it('refuses one node more, lets another pull, and the first again later', async () => {
    const world = await startWorld({ tracker: { pullsBurstMax: 2, pullsPerMinuteMax: 1 } })
    try {
      const cluster = await world.makeCluster()
      const [greedy, modest] = [await world.joined(cluster), await world.joined(cluster)]
      const pull = async (node: TestNode, changes = {}) => (await node.pull(changes)).status
      // What is not granted is not counted.
      for (let at = 0; at < 5; at += 1) expect(await pull(greedy, { repository: 'team/none' })).toBe(403)
      expect([await pull(greedy), await pull(greedy)]).toEqual([200, 200])
      const { status, body } = await greedy.pull()
      expect([status, body.error.code]).toEqual([429, 'REQUESTS_TOO_MANY'])
      expect(await pull(modest)).toBe(200)
      expect((await greedy.heartbeat()).status).toBe(200)
      world.clockOffsetMs = 60_000
      expect([await pull(greedy), await pull(greedy)]).toEqual([200, 429])
    } finally {
      await world.close()
    }
  })
})

describe('a tracker with limits', () => {
  let world: World
  let greedy: TestNode
  let modest: TestNode

  beforeAll(async () => {
    world = await startWorld({ tracker: { requestsPerSecondMax: 1, requestsBurstMax: 8 } })
    const cluster = await world.makeCluster()
    greedy = await world.joined(cluster)
    modest = await world.joined(cluster)
  })
  afterAll(() => world.close())

  it('answers a node that asks too much with 429, and goes on answering others', async () => {
    const answers = []
    for (let request = 0; request < 20; request++) answers.push(await greedy.heartbeat())
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused.length).toBeGreaterThan(5)
    expect(refused[0]!.body.error.code).toBe('REQUESTS_TOO_MANY')
    expect((await modest.heartbeat()).status).toBe(200)
    expect((await world.admin().request('GET', '/metrics')).body).toMatch(
      /refusals_total\{code="REQUESTS_TOO_MANY"\} [1-9]/,
    )
    const told = world
      .logged()
      .split('\n')
      .filter((line) => line.includes('"level":40') && line.includes('REQUESTS_TOO_MANY'))
    expect(told).toHaveLength(1)
  })

  it('says with Retry-After when to come again', async () => {
    const bare = new Client(`https://localhost:${world.tracker.address.port}`, {
      connect: { ca: world.caPem },
    })
    const body = JSON.stringify({ joinToken: 'guess', publicKey: publicKeyOf(newKey()) })
    const headers = { 'content-type': 'application/json' }
    const statuses: [number, unknown][] = []
    for (let guess = 0; guess < 20; guess++) {
      const answer = await bare.request({ method: 'POST', path: '/v1/nodes', headers, body })
      await answer.body.dump()
      statuses.push([answer.statusCode, answer.headers['retry-after']])
    }
    await bare.close()
    expect(statuses).toContainEqual([429, '1'])
    expect(statuses.filter(([status]) => status === 200)).toEqual([])
    // Guesses from one address hinder no node: those are counted by their certificates.
    expect((await modest.heartbeat()).status).toBe(200)
  })

  it('reads no more of a join than a join needs', async () => {
    world.clockOffsetMs += 60_000
    const stranger = world.newNode()
    const answer = await stranger.post('/v1/nodes', { joinToken: 'x'.repeat(5000), publicKey: 'y' })
    expect([answer.status, answer.body.error.code]).toEqual([413, 'BODY_TOO_LARGE'])
  })
})

describe('the audit log', () => {
  it('says who, what and when for every change, and no secret', async () => {
    const world = await startWorld()
    try {
      const admin = world.admin()
      const cluster = await world.makeCluster()
      const node = await world.joined(cluster)
      await node.post('/v1/nodes', { publicKey: publicKeyOf(node.key) })
      const pull = await node.pull()
      await node.post(`/v1/pulls/${pull.body.pull}/renew`, {})
      await node.heartbeat({ servePublicKey: publicKeyOf(newKey()) })
      const hash = 'a'.repeat(64)
      await admin.request('PUT', `/admin/v1/clusters/${cluster.cluster}/join-token`, { hash })
      const revoked = await admin.post('/admin/v1/revocations', { cluster: cluster.cluster, node: node.node })
      await admin.request('DELETE', `/admin/v1/revocations/${revoked.body.revocation}`)
      const { entries } = (await admin.request('GET', '/admin/v1/audit')).body
      const told = entries.map(({ actor, action }: { actor: string; action: string }) => [
        actor.replace(/ [0-9a-f]+$/, ' …'),
        action,
      ])
      expect(told).toMatchInlineSnapshot(`
        [
          [
            "operator",
            "revocation cleared",
          ],
          [
            "operator",
            "node revoked",
          ],
          [
            "operator",
            "join token changed",
          ],
          [
            "node …",
            "serve certificate issued",
          ],
          [
            "node …",
            "pull renewed",
          ],
          [
            "node …",
            "pull granted",
          ],
          [
            "node …",
            "token key probed",
          ],
          [
            "node …",
            "node certificate renewed",
          ],
          [
            "node …",
            "node joined",
          ],
          [
            "tracker",
            "cluster created",
          ],
          [
            "tracker",
            "admin authority created",
          ],
        ]
      `)
      for (const entry of entries) expect(Math.abs(entry.atMs - Date.now())).toBeLessThan(60_000)
      const text = JSON.stringify(entries)
      for (const secret of [hash, cluster.joinToken, 'PRIVATE', 'eyJ']) expect(text).not.toContain(secret)
    } finally {
      await world.close()
    }
  })
})
