import { Client } from 'undici'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type BencodedDictionary, decodeBencode, encodeBencode } from '../../core/bencode.ts'
import { infoHashOf } from '../../core/torrent.ts'
import { makeSigner } from '../core/signed-tokens.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import {
  APP,
  hashesOf,
  LAYER,
  LAYER_PIECES,
  newKey,
  OTHER,
  openDoor,
  publicKeyOf,
  SMALL,
  startWorld,
  TestCaller,
  type TestCluster,
  type TestNode,
  type World,
  type WorldOptions,
  wireHashes,
} from './test-tracker.ts'

const SHA1S = Buffer.alloc(20 * LAYER_PIECES, 7)
const STOCK_PORT = 6881

let world: World
let cluster: TestCluster
let callers: (TestCaller | Client)[]

async function begin(options: WorldOptions = {}): Promise<void> {
  world = await startWorld(options)
  cluster = await world.makeCluster()
  callers = []
}

const startOpen = () => begin({ registry: { kind: 'none' }, door: openDoor })

afterEach(async () => {
  for (const caller of callers.splice(0)) await caller.close()
  await world.close()
})

/** Someone with a pull certificate for LAYER (or what `changes` say), who calls with it. */
async function stockClient(node: TestNode, changes: Record<string, unknown> = {}) {
  const key = newKey()
  const pull = await node.pull({ publicKey: publicKeyOf(key), ...changes })
  expect(pull.status).toBe(200)
  const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
  const tls = { ca: world.caPem, cert: pull.body.certificate as string, key: pem }
  const { port } = world.tracker.address
  const caller = new TestCaller(() => port, tls)
  const client = new Client(`https://localhost:${port}`, { connect: tls })
  callers.push(caller, client)
  /** An answer that is no text. */
  const get = async (path: string): Promise<BencodedDictionary> => {
    const { statusCode, body } = await client.request({ method: 'GET', path })
    expect(statusCode).toBe(200)
    return decodeBencode(Buffer.from(await body.arrayBuffer())) as BencodedDictionary
  }
  return { caller, get, pull: pull.body }
}

/** A node that pulled, published and completed the layer, and brought its SHA-1 hashes. */
async function holder(changes: Record<string, unknown> = {}): Promise<{ node: TestNode; swarm: string }> {
  const node = await world.joined(cluster)
  const { pull, swarms } = (await node.pull(changes)).body
  const { swarm, lease } = swarms[0]
  const hashes = wireHashes(hashesOf(LAYER_PIECES))
  await node.hashes(swarm, { pull, lease: lease.lease, hashes })
  await bringSha1(node, swarm)
  return { node, swarm }
}

/** Of a node that was granted the layer, and asked. */
async function bringSha1(node: TestNode, swarm: string, sha1s = SHA1S): Promise<void> {
  expect((await node.complete(swarm)).body.wantsSha1).toBe(true)
  expect((await node.complete(swarm, { piecesSha1: sha1s.toString('base64url') })).status).toBe(200)
}

async function secondHolder(swarm: string, sha1s = SHA1S, changes: Record<string, unknown> = {}) {
  const node = await world.joined(cluster)
  await node.pull(changes)
  await bringSha1(node, swarm, sha1s)
  return node
}

async function holderWithSha1(changes: Record<string, unknown> = {}) {
  const held = await holder(changes)
  const second = await secondHolder(held.swarm, SHA1S, changes)
  // What is there stays; the tests below count peers.
  await second.heartbeat({ isFullInventory: true })
  return held
}

function aliasOf(authorityPem: string): string {
  return infoHashOf({ digest: LAYER.digest, bytes: LAYER.bytes, piecesSha1: SHA1S, authorityPem })
}

const codeOf = (answer: { status: number; body: { error: { code: string } } }) => answer.body.error.code

function announcePath(swarm: string, infoHash: string, query = `port=${STOCK_PORT}&left=0`): string {
  return `/v1/swarms/${swarm}/announce?info_hash=${infoHash.replace(/../g, '%$&')}&${query}`
}

describe('the torrent of a blob', () => {
  beforeEach(() => begin())

  it('is there once two nodes have brought the same SHA-1 hashes', async () => {
    const { node, swarm } = await holder()
    const { caller, get, pull } = await stockClient(await world.joined(cluster))
    const expectPending = async () => {
      const pending = await caller.request('GET', `/v1/swarms/${swarm}/torrent`)
      expect([pending.status, codeOf(pending)]).toEqual([404, 'TORRENT_PENDING'])
    }
    await expectPending()
    await node.complete(swarm, { piecesSha1: SHA1S.toString('base64url') })
    await expectPending()
    await secondHolder(swarm)
    const file = await get(`/v1/swarms/${swarm}/torrent`)
    expect(String(file.get('announce'))).toMatch(
      new RegExp(`^https://localhost:\\d+/v1/swarms/${swarm}/announce$`),
    )
    const info = file.get('info') as BencodedDictionary
    expect(info.get('pieces')).toEqual(SHA1S)
    expect(String(info.get('ssl-cert'))).toBe(pull.trust.authorities[0])
    expect(encodeBencode(info).length).toBeGreaterThan(SHA1S.length)
  })

  it('is not there when two nodes brought different ones, and is when the next two bring the same', async () => {
    const { node, swarm } = await holder()
    const liar = await secondHolder(swarm, Buffer.alloc(20 * LAYER_PIECES, 0xee))
    const { caller, get } = await stockClient(await world.joined(cluster))
    expect(codeOf(await caller.request('GET', `/v1/swarms/${swarm}/torrent`))).toBe('TORRENT_PENDING')
    for (const spoken of [node, liar]) expect((await spoken.complete(swarm)).body.wantsSha1).toBe(false)
    for (let next = 0; next < 2; next += 1) await secondHolder(swarm)
    const info = (await get(`/v1/swarms/${swarm}/torrent`)).get('info') as BencodedDictionary
    expect(info.get('pieces')).toEqual(SHA1S)
  })

  it('is gone when a hash of the blob proves wrong', async () => {
    const { swarm } = await holderWithSha1()
    const { caller, pull } = await stockClient(await world.joined(cluster))
    const reporter = await world.joined(cluster)
    await reporter.pull()
    const pieces = [{ piece: 0, hash: Buffer.alloc(32).toString('base64url') }]
    expect((await reporter.mismatch(swarm, { pieces })).status).toBe(200)
    expect(pull.swarms[0].status).toBe('confirmed')
    expect(codeOf(await caller.request('GET', `/v1/swarms/${swarm}/torrent`))).toBe('TORRENT_PENDING')
  })

  it('is for holders of a live pull certificate that names the blob', async () => {
    const { node, swarm } = await holderWithSha1()
    const path = `/v1/swarms/${swarm}/torrent`
    const refusalOf = async (caller: TestCaller) => codeOf(await caller.request('GET', path))
    expect(await refusalOf(node)).toBe('CERTIFICATE_KIND')
    expect(await refusalOf(world.newNode())).toBe('CERTIFICATE_REQUIRED')
    const member = await world.joined(cluster)
    const other = await stockClient(member, { blobs: [{ ...SMALL, isWanted: true }] })
    expect(await refusalOf(other.caller)).toBe('SWARM_NOT_GRANTED')
    const elsewhere = await stockClient(await world.joined(await world.makeCluster('other')))
    expect(await refusalOf(elsewhere.caller)).toBe('SWARM_NOT_GRANTED')
    const good = await stockClient(member)
    expect((await good.caller.request('GET', path)).status).toBe(200)
    world.clockOffsetMs = 31 * 60_000
    expect(await refusalOf(good.caller)).toBe('CERTIFICATE_REFUSED')
  })

  it('is refused once the pull is revoked', async () => {
    const { swarm } = await holderWithSha1()
    const { caller, pull } = await stockClient(await world.joined(cluster))
    const body = { cluster: cluster.cluster, pull: pull.pull }
    expect((await world.admin().post('/admin/v1/revocations', body)).status).toBe(201)
    expect(codeOf(await caller.request('GET', `/v1/swarms/${swarm}/torrent`))).toBe('PULL_REVOKED')
  })

  it('is for holders of a registry token that grants pull on a repository with the blob', async () => {
    const { swarm } = await holderWithSha1()
    const stranger = world.newNode()
    const ask = (token: string) =>
      stranger.request('GET', `/v1/swarms/${swarm}/torrent`, undefined, { authorization: `Bearer ${token}` })
    const access = (name: string, actions = ['pull']) => [{ type: 'repository', name, actions }]
    expect((await ask(world.token())).status).toBe(200)
    expect(codeOf(await ask(world.token({ access: access(APP, ['push']) })))).toBe('TOKEN_SCOPE')
    expect(codeOf(await ask(world.token({ access: access(OTHER) })))).toBe('TOKEN_SCOPE')
    expect(codeOf(await ask(world.token({ exp: 1000 })))).toBe('TOKEN_EXPIRED')
    expect(codeOf(await ask(`${world.token().slice(0, -4)}AAAA`))).toBe('TOKEN_SIGNATURE')
    expect(codeOf(await ask('x'))).toBe('TOKEN_MALFORMED')
  })

  it('is there for a stranger with a token as little as one that does not exist', async () => {
    const { swarm } = await holderWithSha1()
    const tokens = {
      unread: 'x.y.z',
      forged: world.token({}, makeSigner('ES256')),
      past: world.token({ exp: 1000 }),
      elsewhere: world.token({ access: [{ type: 'repository', name: OTHER, actions: ['pull'] }] }),
    }
    for (const [name, token] of Object.entries(tokens)) {
      const answers = []
      for (const id of [swarm, 'ab'.repeat(20)]) {
        const headers = { authorization: `Bearer ${token}` }
        answers.push(await world.newNode().request('GET', `/v1/swarms/${id}/torrent`, undefined, headers))
      }
      expect(answers[1], name).toEqual(answers[0])
      expect(answers[0]!.status).toBeGreaterThanOrEqual(401)
    }
  })

  it('is for tokens that the registry accepts: a signature by a key that was only probed is not enough', async () => {
    const { swarm } = await holderWithSha1()
    const accepted = world.token()
    await (await world.joined(cluster)).pull({ credential: { scheme: 'bearer', token: accepted } })
    // The key is trusted, and the blob remembered; the registry takes no token of it any more.
    world.registry.door = alwaysStatus(401)
    const get = (token: string) => {
      const headers = { authorization: `Bearer ${token}` }
      return world.newNode().request('GET', `/v1/swarms/${swarm}/torrent`, undefined, headers)
    }
    expect((await get(accepted)).status).toBe(200)
    const forged = await get(world.token())
    expect([forged.status, codeOf(forged)]).toEqual([403, 'TOKEN_SCOPE'])
  })

  it('is refused to a token of a barred subject', async () => {
    const { swarm } = await holderWithSha1()
    const token = world.token({ sub: 'mallory' })
    const { pull } = (await (await world.joined(cluster)).pull({ credential: { scheme: 'bearer', token } }))
      .body
    await world.admin().post('/admin/v1/revocations', { cluster: cluster.cluster, pull })
    const headers = { authorization: `Bearer ${token}` }
    const answer = await world.newNode().request('GET', `/v1/swarms/${swarm}/torrent`, undefined, headers)
    expect(codeOf(answer)).toBe('SUBJECT_REVOKED')
  })

  it("is not worth a question to the registry when a stranger's own key signed the token", async () => {
    const { swarm } = await holderWithSha1()
    const asked = world.registry.requests.length
    const headers = { authorization: `Bearer ${world.token({}, makeSigner('ES256'))}` }
    const answer = await world.newNode().request('GET', `/v1/swarms/${swarm}/torrent`, undefined, headers)
    expect(codeOf(answer)).toBe('TOKEN_KEY_UNTRUSTED')
    expect(world.registry.requests.length).toBe(asked)
  })

  it('is all that a pull certificate opens', async () => {
    const { swarm } = await holderWithSha1()
    const { caller, pull } = await stockClient(await world.joined(cluster))
    for (const path of [
      '/v1/heartbeat',
      '/v1/pulls',
      `/v1/pulls/${pull.pull}/renew`,
      `/v1/swarms/${swarm}/hashes`,
    ]) {
      expect(codeOf(await caller.post(path, {}))).toBe('CERTIFICATE_KIND')
    }
    const rejoin = { publicKey: publicKeyOf(newKey()) }
    expect(codeOf(await caller.post('/v1/nodes', rejoin))).toBe('CERTIFICATE_KIND')
  })
})

describe('an announce, with a registry without authentication', () => {
  const NONE = { credential: { scheme: 'none' } }
  beforeEach(startOpen)

  async function announced(query?: string) {
    const { node, swarm } = await holderWithSha1(NONE)
    const member = await world.joined(cluster)
    const { get, pull } = await stockClient(member, NONE)
    const infoHash = aliasOf(pull.trust.authorities[0])
    const answer = await get(announcePath(swarm, infoHash, query))
    const listed = async () =>
      (await node.heartbeat({ holds: [{ swarm, isSeed: true }], wantsPeers: [swarm] })).body.peers[0].peers
    return { node, swarm, member, get, infoHash, answer, listed }
  }

  it('lists the client, where its connection comes from, to nodes, under its alias and once', async () => {
    const { member, infoHash, listed } = await announced(`port=${STOCK_PORT}&left=0&ip=192.0.2.1`)
    expect(await listed()).toEqual([
      { node: member.node, address: '127.0.0.1', port: STOCK_PORT, isSeed: true, infoHash },
    ])
  })

  it('tells the client of the nodes that have the whole blob', async () => {
    const { answer, get, swarm, infoHash } = await announced('port=6881&left=5&event=started')
    expect(answer.get('peers')).toEqual(Buffer.from([127, 0, 0, 1, 7071 >> 8, 7071 & 0xff]))
    expect(answer.get('complete')).toBe(1)
    expect(answer.get('interval')).toBeGreaterThan(0)
    const scraped = await get(`/v1/swarms/${swarm}/scrape?info_hash=${infoHash.replace(/../g, '%$&')}`)
    const files = scraped.get('files') as BencodedDictionary
    const counts = files.get(Buffer.from(infoHash, 'hex').toString('latin1')) as BencodedDictionary
    expect(counts.get('complete')).toBe(1)
    // The client, and its node, which asked for the pull.
    expect(counts.get('incomplete')).toBe(2)
  })

  it('ends with the client: when it says so, or says nothing for long', async () => {
    const { get, swarm, infoHash, listed } = await announced()
    await get(announcePath(swarm, infoHash, 'port=6881&left=0&event=stopped'))
    expect((await listed()).filter((peer: { infoHash?: string }) => peer.infoHash)).toEqual([])
    await get(announcePath(swarm, infoHash))
    expect(await listed()).toHaveLength(1)
    world.clockOffsetMs = 10 * 60_000
    expect(await listed()).toEqual([])
  })

  it('of another torrent, or one that cannot be read, is answered as clients read it', async () => {
    const { get, swarm, infoHash } = await announced()
    const reasonOf = async (path: string) => String((await get(path)).get('failure reason'))
    expect(await reasonOf(announcePath(swarm, 'f'.repeat(40)))).toMatch(/^TORRENT_UNKNOWN: /)
    expect(await reasonOf(announcePath(swarm, infoHash, 'port=0&left=0'))).toMatch(/^INVALID_INPUT: /)
    expect(await reasonOf(announcePath(swarm, infoHash, 'port=6881'))).toMatch(/^INVALID_INPUT: /)
    expect(await reasonOf(announcePath('0'.repeat(40), infoHash))).toMatch(/^SWARM_NOT_GRANTED: /)
    const outside = await world.newNode().request('GET', announcePath(swarm, infoHash))
    expect(outside.body).toMatch(/^d14:failure reason\d+:CERTIFICATE_REQUIRED: /)
  })
})

describe('an announce, where tokens are required', () => {
  beforeEach(() => begin())

  it('lists nobody and tells of nobody, and says why', async () => {
    const { node, swarm } = await holderWithSha1()
    const { get, pull } = await stockClient(await world.joined(cluster))
    const answer = await get(announcePath(swarm, aliasOf(pull.trust.authorities[0])))
    expect(answer.get('peers')).toEqual(Buffer.alloc(0))
    expect(String(answer.get('warning message'))).toMatch(/tokens/)
    const { peers } = (await node.heartbeat({ holds: [{ swarm, isSeed: true }], wantsPeers: [swarm] })).body
    expect(peers[0].peers.filter((peer: { infoHash?: string }) => peer.infoHash)).toEqual([])
  })
})
