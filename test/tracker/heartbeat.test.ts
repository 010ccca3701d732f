import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { heartbeatResponse } from '../../core/tracker-api.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import {
  hashesOf,
  LAYER,
  LAYER_PIECES,
  newKey,
  publicKeyOf,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
  wireHashes,
} from './test-tracker.ts'

describe('a heartbeat', () => {
  let world: World
  let lab: TestCluster
  let node: TestNode
  /** Of LAYER, which `downloader` was granted. */
  let layer: string

  beforeAll(async () => {
    world = await startWorld()
  })
  afterAll(() => world.close())
  beforeEach(async () => {
    world.clockOffsetMs = 0
    lab = await world.makeCluster()
    node = await world.joined(lab)
    layer = swarmIdOf({ cluster: lab.cluster, registry: world.registry.config.host, ...LAYER })
  })

  async function downloader(): Promise<TestNode> {
    const downloading = await world.joined(lab)
    expect((await downloading.pull()).body.swarms[0].swarm).toBe(layer)
    return downloading
  }

  const seeding = (swarm = layer) => ({ isFullInventory: true, holds: [{ swarm, isSeed: true }] })

  it('asks for the full inventory until it was told', async () => {
    const { body } = await node.heartbeat()
    expect(heartbeatResponse.parse(body)).toMatchObject({ wantsFullInventory: true, serveCertificate: null })
    expect(body.nextInMs).toBeGreaterThanOrEqual(4500)
    expect(body.nextInMs).toBeLessThanOrEqual(5500)
    expect((await node.heartbeat(seeding())).body.wantsFullInventory).toBe(false)
    expect((await node.heartbeat()).body.wantsFullInventory).toBe(false)
  })

  it('makes a seed known to those who take part in the swarm, and to nobody else', async () => {
    const [asker, outsider] = [await downloader(), await world.joined(await world.makeCluster())]
    await node.heartbeat({ ...seeding(), listenPort: 6001 })
    const asking = { holds: [{ swarm: layer, isSeed: false }], wantsPeers: [layer] }
    const { body } = await asker.heartbeat(asking)
    expect(body.peers).toEqual([
      { swarm: layer, peers: [{ node: node.node, address: '127.0.0.1', port: 6001, isSeed: true }] },
    ])
    expect((await outsider.heartbeat(asking)).body.peers).toEqual([{ swarm: layer, peers: [] }])
    expect((await node.heartbeat({ wantsPeers: ['6'.repeat(40)] })).body.peers[0].peers).toEqual([])
  })

  it('gives no peers of a swarm to a node that has no grant for it, whatever it says it holds', async () => {
    await node.heartbeat(seeding())
    const liar = await world.joined(lab)
    const claiming = (isSeed: boolean) => ({ holds: [{ swarm: layer, isSeed }], wantsPeers: [layer] })
    expect((await liar.heartbeat(claiming(false))).body.peers[0].peers).toEqual([])
    expect((await liar.heartbeat(claiming(true))).body.peers[0].peers).toEqual([])
    await liar.pull()
    expect((await liar.heartbeat(claiming(false))).body.peers[0].peers).toHaveLength(1)
  })

  it('lists a holder whose grant is long forgotten, after a restart of the tracker too', async () => {
    const holder = await downloader()
    await holder.heartbeat(seeding())
    const store = new SqliteStore(join(world.dataDir, 'tracker.sqlite'))
    await store.prune({
      pulls: Date.now() + 1000,
      audit: 0,
      nodes: 0,
      joinTokens: 0,
      now: Date.now(),
      pullsPerNodeMax: 100,
    })
    await store.close()
    await world.restart()
    await holder.close()
    expect((await holder.heartbeat()).body.wantsFullInventory).toBe(true)
    await holder.heartbeat(seeding())
    const { body } = await (await world.joined(lab)).pull()
    expect(body.swarms[0].peers).toMatchObject([{ node: holder.node, isSeed: true }])
  })

  it('hands out a peer no more once two nodes reported it for corrupt pieces; one report changes nothing', async () => {
    const reporters = [await downloader(), await world.joined(lab)]
    await node.heartbeat(seeding())
    const asking = { holds: [{ swarm: layer, isSeed: false }], wantsPeers: [layer] }
    const seeds = async (asker: TestNode) =>
      ((await asker.heartbeat(asking)).body.peers[0].peers as { node: string; isSeed: boolean }[]).filter(
        ({ isSeed }) => isSeed,
      )
    const asker = await downloader()
    const badPeers = [{ swarm: layer, node: node.node }]
    await reporters[0]!.heartbeat(asking)
    await reporters[0]!.heartbeat({ badPeers })
    await reporters[0]!.heartbeat({ badPeers })
    expect(await seeds(asker)).toHaveLength(1)
    await reporters[1]!.heartbeat({ badPeers })
    expect(await seeds(asker), 'a node outside the swarm has no say').toHaveLength(1)
    await reporters[1]!.heartbeat({ ...asking, badPeers })
    expect(await seeds(asker), 'nor one that only says that it is inside').toHaveLength(1)
    await reporters[1]!.pull()
    await reporters[1]!.heartbeat({ badPeers })
    expect(await seeds(asker)).toEqual([])
  })

  it.each([
    ['was dropped', () => ({ dropped: [layer] })],
    ['is not in the full inventory', () => ({ isFullInventory: true })],
  ])('withdraws a swarm that %s', async (_, change) => {
    const asker = await downloader()
    const asking = { holds: [{ swarm: layer, isSeed: false }], wantsPeers: [layer] }
    await node.heartbeat(seeding())
    await node.heartbeat(change())
    expect((await asker.heartbeat(asking)).body.peers[0].peers).toEqual([])
  })

  it('that is missed three times takes the node off the list, and the next one asks for everything', async () => {
    const asker = await downloader()
    const asking = { holds: [{ swarm: layer, isSeed: false }], wantsPeers: [layer] }
    await node.heartbeat(seeding())
    world.clockOffsetMs = 14_000
    expect((await asker.heartbeat(asking)).body.peers[0].peers).toHaveLength(1)
    world.clockOffsetMs = 16_000
    expect((await asker.heartbeat(asking)).body.peers[0].peers).toEqual([])
    expect((await node.heartbeat()).body.wantsFullInventory).toBe(true)
  })

  it('brings a serve certificate for the given key, which names no blob and ends within the hour', async () => {
    const key = newKey()
    const { body } = await node.heartbeat({ servePublicKey: publicKeyOf(key) })
    const certificate = new X509Certificate(body.serveCertificate.certificate)
    expect(claimsOf(certificate)).toEqual({ kind: 'serve', cluster: lab.cluster, node: node.node })
    expect(certificate.checkPrivateKey(createPrivateKey(key.export({ type: 'pkcs8', format: 'pem' })))).toBe(
      true,
    )
    expect(certificate.subjectAltName).toContain('DNS:*')
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
    expect(body.serveCertificate.validForSeconds).toBe(3600)
  })

  it('counts holders of a blob to who was granted it only: others hear 0, whoever has it, and once', async () => {
    const { body: granted } = await node.pull()
    const { swarm } = granted.swarms[0]
    const [nosy, late] = [await world.joined(lab), await world.joined(lab)]
    await node.heartbeat(seeding(swarm))
    const none = { holders: [{ swarm, others: 0 }] }
    expect((await nosy.heartbeat(seeding(swarm))).body).toMatchObject(none)
    await late.pull()
    await late.heartbeat(seeding(swarm))
    expect((await nosy.heartbeat()).body.holders).toBeUndefined()
    expect((await node.heartbeat()).body.holders).toEqual([{ swarm, others: 2 }])
    // With a grant of its own it hears the number.
    await nosy.pull()
    expect((await nosy.heartbeat()).body.holders).toEqual([{ swarm, others: 2 }])
  })

  it('tells of a risen epoch once, to those who hold the swarm', async () => {
    const { body: granted } = await node.pull()
    const { swarm, lease } = granted.swarms[0]
    const hashes = wireHashes(hashesOf(LAYER_PIECES))
    await node.hashes(swarm, { pull: granted.pull, lease: lease.lease, hashes })
    const [holder, other, reporter] = [
      await world.joined(lab),
      await world.joined(lab),
      await world.joined(lab),
    ]
    await holder.heartbeat(seeding(swarm))
    await other.heartbeat(seeding('5'.repeat(40)))
    await reporter.pull()
    const hash = wireHashes(hashesOf(LAYER_PIECES, 'lying'), 0, 1)
    await reporter.mismatch(swarm, { pieces: [{ piece: 0, hash }] })
    const instruction = [{ kind: 'epoch', swarm, epoch: 1 }]
    expect((await holder.heartbeat()).body.instructions).toEqual(instruction)
    expect((await holder.heartbeat()).body.instructions).toEqual([])
    expect((await other.heartbeat()).body.instructions).toEqual([])
    expect((await holder.heartbeat(seeding(swarm))).body.instructions).toEqual(instruction)
  })

  it('brings revocations since the version that the node knows, and all of them after a clearing', async () => {
    const admin = world.admin()
    const before = (await node.heartbeat()).body.revocationsVersion
    const [bad, worse] = [await world.joined(lab), await world.joined(lab)]
    const revoke = (target: object) =>
      admin.post('/admin/v1/revocations', { cluster: lab.cluster, ...target })
    const { body: pull } = await worse.pull({
      credential: { scheme: 'bearer', token: world.token({ sub: 'eve' }) },
    })
    const first = (await revoke({ node: bad.node })).body.revocation
    const second = (await revoke({ pull: pull.pull })).body.revocation
    const all = [
      { kind: 'node', node: bad.node },
      { kind: 'pull', pull: pull.pull },
    ]
    const fresh = (await node.heartbeat({ revocationsVersion: before })).body
    expect(fresh).toMatchObject({ revocationsVersion: second })
    expect(fresh.revocations).toMatchObject(all)
    const later = (await node.heartbeat({ revocationsVersion: first })).body
    expect(later).toMatchObject({ isFullRevocations: false, revocations: [all[1]] })
    const none = (await node.heartbeat({ revocationsVersion: second })).body
    expect(none).toMatchObject({ isFullRevocations: false, revocations: [] })
    expect((await admin.request('DELETE', `/admin/v1/revocations/${first}`)).status).toBe(200)
    const cleared = (await node.heartbeat({ revocationsVersion: second })).body
    expect(cleared).toMatchObject({ isFullRevocations: true, revocations: [all[1]] })
    const outsider = await world.joined(await world.makeCluster())
    expect((await outsider.heartbeat()).body.revocations).toEqual([])
  })

  it('tells a node, or all of a cluster, to stand aside until the pause ends', async () => {
    const admin = (method: string, path: string) =>
      world.admin().request(method, path, method === 'PUT' ? {} : undefined)
    const [other, outsider] = [await world.joined(lab), await world.joined(await world.makeCluster())]
    const paused = async () => {
      const answers = [await node.heartbeat(), await other.heartbeat(), await outsider.heartbeat()]
      return answers.map(({ body }) => heartbeatResponse.parse(body).isPaused === true)
    }
    const ofCluster = `/admin/v1/clusters/${lab.cluster}/pause`
    const ofNode = `/admin/v1/clusters/${lab.cluster}/nodes/${node.node}/pause`
    expect(await paused()).toEqual([false, false, false])
    for (const _ of [1, 2]) expect((await admin('PUT', ofNode)).status).toBe(200)
    expect(await paused()).toEqual([true, false, false])
    expect((await admin('PUT', ofCluster)).body).toEqual({
      cluster: lab.cluster,
      node: null,
      isPaused: true,
    })
    expect(await paused()).toEqual([true, true, false])
    await world.restart()
    for (const caller of [node, other, outsider]) await caller.close()
    expect(await paused()).toEqual([true, true, false])
    const { pauses } = (await admin('GET', '/admin/v1/pauses')).body
    expect(pauses).toMatchObject([
      { cluster: lab.cluster, node: null },
      { cluster: lab.cluster, node: node.node },
    ])
    await admin('DELETE', ofCluster)
    expect(await paused()).toEqual([true, false, false])
    expect((await admin('DELETE', ofNode)).body).toMatchObject({ isPaused: false })
    expect(await paused()).toEqual([false, false, false])
    const { entries } = (await admin('GET', '/admin/v1/audit?limit=4')).body
    expect(entries).toMatchObject([
      { action: 'node resumed', cluster: lab.cluster, target: node.node, actor: 'operator' },
      { action: 'cluster resumed', target: lab.cluster },
      { action: 'cluster paused' },
      { action: 'node paused' },
    ])
  })

  it('of a revoked node is refused, as are its joins and pulls, and it is handed out no more', async () => {
    const admin = world.admin()
    const asker = await downloader()
    await node.heartbeat(seeding())
    const revoked = await admin.post('/admin/v1/revocations', { cluster: lab.cluster, node: node.node })
    const answers = [await node.heartbeat(), await node.pull(), await node.join(lab.joinToken)]
    expect(answers.map(({ status, body }) => [status, body.error.code])).toEqual(
      Array(3).fill([403, 'NODE_REVOKED']),
    )
    const asking = { holds: [{ swarm: layer, isSeed: false }], wantsPeers: [layer] }
    expect((await asker.heartbeat(asking)).body.peers[0].peers).toEqual([])
    await admin.request('DELETE', `/admin/v1/revocations/${revoked.body.revocation}`)
    expect((await node.heartbeat()).status).toBe(200)
  })

  it('keeps a revoked pull from being renewed and leased, and its subject from pulling', async () => {
    const admin = world.admin()
    const asMallory = () => ({ credential: { scheme: 'bearer', token: world.token({ sub: 'mallory' }) } })
    const { body: granted } = await node.pull(asMallory())
    await admin.post('/admin/v1/revocations', { cluster: lab.cluster, pull: granted.pull })
    const { swarm } = granted.swarms[0]
    const other = await world.joined(lab)
    const answers = [
      await node.post(`/v1/pulls/${granted.pull}/renew`, {}),
      await node.hashes(swarm, { pull: granted.pull, wantsLease: true }),
      await other.pull(asMallory()),
      await other.pull(),
    ]
    expect(answers.map(({ body }) => body.error?.code)).toEqual([
      'PULL_REVOKED',
      'PULL_REVOKED',
      'SUBJECT_REVOKED',
      undefined,
    ])
  })
})
