import { pino } from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import type { ClusterId } from '../../core/metainfo.ts'
import { JoinLimits } from '../../tracker/join-limits.ts'
import { newKey, publicKeyOf, startWorld, type World } from './test-tracker.ts'

const silent = pino({ level: 'silent' })
const LAB = 'c0000000000000000' as ClusterId
const HOUR_MS = 3600 * 1000
const refused = expect.objectContaining({ code: 'REQUESTS_TOO_MANY' })

describe('the number of new nodes', () => {
  const limits = () => new JoinLimits({ joinsBurstMax: 10, joinsPerHourMax: 6 }, silent)
  const joinsOf = (joins: JoinLimits, network: string, nowMs: number) => {
    for (let count = 0; ; count += 1) {
      try {
        joins.enter(network, LAB, nowMs)
      } catch {
        return count
      }
    }
  }

  it('is bounded for one address, at once and in the long run', () => {
    const joins = limits()
    expect(joinsOf(joins, 'a', 0)).toBe(10)
    expect(joinsOf(joins, 'a', HOUR_MS)).toBe(6)
    expect(joinsOf(joins, 'b', HOUR_MS)).toBe(10)
  })

  it('is bounded for one join token, from wherever, and another one has its own', () => {
    const joins = limits()
    let all = 0
    for (let address = 0; address < 100; address += 1) all += joinsOf(joins, `address ${address}`, 0)
    expect(all).toBe(80)
    joins.enter('address 1000', 'c1111111111111111' as ClusterId, 0)
    expect(() => joins.enter('address 1001', LAB, 0)).toThrow(refused)
  })

  it('is none at 0', () => {
    const joins = new JoinLimits({ joinsBurstMax: 1, joinsPerHourMax: 0 }, silent)
    for (let count = 0; count < 1000; count += 1) joins.enter('a', LAB, 0)
  })
})

describe('a tracker that lets so many nodes join', () => {
  let world: World
  afterEach(() => world.close())

  it('refuses one more, and lets those in again that it knows, under the row that they have', async () => {
    world = await startWorld({ tracker: { joinsBurstMax: 2, joinsPerHourMax: 1 } })
    const lab = await world.makeCluster()
    const first = await world.joined(lab)
    await world.joined(lab)
    const { status, body } = await world.newNode().join(lab.joinToken)
    expect([status, body.error.code]).toEqual([429, 'REQUESTS_TOO_MANY'])
    await first.present(undefined)
    const request = { joinToken: lab.joinToken, publicKey: publicKeyOf(first.key) }
    expect((await first.post('/v1/nodes', request)).status).toBe(200)
    const { nodes } = (await world.admin().request('GET', '/admin/v1/nodes')).body
    expect(nodes).toHaveLength(2)
    world.clockOffsetMs = HOUR_MS
    expect((await world.newNode().join(lab.joinToken)).status).toBe(200)
  })

  it('certifies one node now and then, not without end', async () => {
    world = await startWorld()
    const node = await world.joined(await world.makeCluster())
    const renew = async () => (await node.post('/v1/nodes', { publicKey: publicKeyOf(node.key) })).status
    const serve = async () => (await node.heartbeat({ servePublicKey: publicKeyOf(newKey()) })).status
    const statuses = []
    for (let at = 0; at < 20; at += 1) statuses.push(await renew(), await serve())
    expect(statuses.filter((status) => status === 200)).toHaveLength(16)
    expect(new Set(statuses)).toEqual(new Set([200, 429]))
    expect((await node.heartbeat()).status).toBe(200)
    world.clockOffsetMs = 60_000
    expect(await renew()).toBe(200)
  })
})
