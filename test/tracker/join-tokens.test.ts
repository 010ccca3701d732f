import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { JOIN_TOKENS_MAX } from '../../tracker/authority/join-tokens.ts'
import {
  newJoinToken,
  sha256,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
} from './test-tracker.ts'

let world: World
let lab: TestCluster
beforeEach(async () => {
  world = await startWorld()
  lab = await world.makeCluster()
})
afterEach(() => world.close())

const tokensPath = () => `/admin/v1/clusters/${lab.cluster}/join-tokens`

async function addToken(terms: object): Promise<{ joinToken: string; id: string }> {
  const joinToken = newJoinToken(lab.cluster)
  const { status, body } = await world.admin().post(tokensPath(), { hash: sha256(joinToken), ...terms })
  expect(status).toBe(201)
  return { joinToken, id: body.joinToken.id }
}

async function refusalOf(joinToken: string, node: TestNode = world.newNode()): Promise<string | undefined> {
  return (await node.join(joinToken)).body.error?.code
}

/** Without the certificate, as a node whose data folder has only the key. */
async function again(node: TestNode, joinToken: string): Promise<string | undefined> {
  await node.present(undefined)
  return refusalOf(joinToken, node)
}

describe('join tokens of a cluster', () => {
  it('count side by side, and each says why it does not', async () => {
    const once = await addToken({ usesMax: 1 })
    const short = await addToken({ validForSeconds: 60 })
    const gone = await addToken({})
    expect((await world.admin().request('DELETE', `${tokensPath()}/${gone.id}`)).status).toBe(200)
    expect(await refusalOf(once.joinToken)).toBeUndefined()
    expect(await refusalOf(short.joinToken)).toBeUndefined()
    expect(await refusalOf(once.joinToken)).toBe('JOIN_TOKEN_USED_UP')
    expect(await refusalOf(gone.joinToken)).toBe('JOIN_TOKEN_REVOKED')
    expect(await refusalOf(newJoinToken(lab.cluster))).toBe('JOIN_REFUSED')
    world.clockOffsetMs = 61_000
    expect(await refusalOf(short.joinToken)).toBe('JOIN_TOKEN_EXPIRED')
    expect(await refusalOf(lab.joinToken)).toBeUndefined()
    await world.restart()
    expect(await refusalOf(once.joinToken)).toBe('JOIN_TOKEN_USED_UP')
  })

  it('count a node once, however often it joins', async () => {
    const { joinToken } = await addToken({ usesMax: 1 })
    const node = world.newNode()
    expect(await refusalOf(joinToken, node)).toBeUndefined()
    expect(await again(node, joinToken)).toBeUndefined()
    expect(await refusalOf(joinToken)).toBe('JOIN_TOKEN_USED_UP')
  })

  it('let as many nodes join as they may, also of many that come at once', async () => {
    const { joinToken } = await addToken({ usesMax: 3 })
    const nodes = Array.from({ length: 12 }, () => world.newNode())
    const refusals = await Promise.all(nodes.map((node) => refusalOf(joinToken, node)))
    expect(refusals.filter((refusal) => refusal === undefined)).toHaveLength(3)
    expect(new Set(refusals)).toEqual(new Set([undefined, 'JOIN_TOKEN_USED_UP']))
    const { body } = await world.admin().request('GET', '/admin/v1/nodes')
    expect(body.nodes).toHaveLength(3)
  })

  it('are listed with their standing and without their hash, and withdrawn once', async () => {
    const { joinToken, id } = await addToken({ usesMax: 5, validForSeconds: 3600 })
    await refusalOf(joinToken)
    const list = await world.admin().request('GET', tokensPath())
    expect(list.body.joinTokens).toMatchObject([
      { id, uses: 1, usesMax: 5, standing: 'live' },
      { uses: 0, usesMax: null, validUntilMs: null, standing: 'live' },
    ])
    expect(JSON.stringify(list.body)).not.toMatch(/hash/i)
    const withdraw = () => world.admin().request('DELETE', `${tokensPath()}/${id}`)
    expect((await withdraw()).status).toBe(200)
    expect((await withdraw()).body.error.code).toBe('JOIN_TOKEN_UNKNOWN')
    const { body } = await world.admin().request('GET', '/admin/v1/audit?limit=2')
    expect(body.entries).toMatchObject([
      { action: 'join token withdrawn', actor: 'operator', target: id },
      { action: 'node joined' },
    ])
  })

  it('are of a bounded number, of which ended ones do not take a place', async () => {
    const added = [await addToken({})]
    for (let at = 2; at < JOIN_TOKENS_MAX; at += 1) added.push(await addToken({ usesMax: 1 }))
    const one = { hash: sha256(newJoinToken(lab.cluster)) }
    expect((await world.admin().post(tokensPath(), one)).body.error.code).toBe('JOIN_TOKENS_TOO_MANY')
    await world.admin().request('DELETE', `${tokensPath()}/${added[0]!.id}`)
    expect((await world.admin().post(tokensPath(), one)).status).toBe(201)
  })
})

describe('a node that leaves', () => {
  it('is forgotten, and its certificate opens nothing any more', async () => {
    const node = await world.joined(lab)
    const other = await world.joined(lab)
    expect((await node.heartbeat()).status).toBe(200)
    const version = (await other.heartbeat()).body.revocationsVersion
    expect((await node.post('/v1/nodes/leave', {})).status).toBe(200)
    expect((await node.heartbeat()).body.error.code).toBe('NODE_REVOKED')
    const news = (await other.heartbeat({ revocationsVersion: version })).body
    expect(news.revocations).toMatchObject([{ kind: 'node', node: node.node }])
    const { body } = await world.admin().request('GET', '/admin/v1/nodes')
    expect(body.nodes.map((one: { node: string }) => one.node)).toEqual([other.node])
    expect(await again(node, lab.joinToken)).toBe('NODE_REVOKED')
  })

  it('must be a member: nobody can leave for another', async () => {
    const stranger = world.newNode()
    expect((await stranger.post('/v1/nodes/leave', {})).body.error.code).toBe('CERTIFICATE_REQUIRED')
    const node = await world.joined(lab)
    expect((await node.post('/v1/nodes/leave', { node: 'f'.repeat(40) })).status).toBe(400)
    expect((await node.heartbeat()).status).toBe(200)
  })
})
