import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { joinResponse } from '../../core/join-api.ts'
import { linkHolderOf } from '../../core/link-certificate.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { heartbeatResponse } from '../../core/tracker-api.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import {
  LAYER,
  publicKeyOf,
  SMALL,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
} from './test-tracker.ts'

const wire = WIRE_VERSION_LINKS

describe('a cluster whose nodes have links', () => {
  let world: World
  let lab: TestCluster
  let layer: string
  let open: Server
  let openPort: number
  let closedPort: number

  beforeAll(async () => {
    world = await startWorld()
    open = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1')
    const closed = createServer().listen(0, '127.0.0.1')
    await Promise.all([once(open, 'listening'), once(closed, 'listening')])
    openPort = (open.address() as AddressInfo).port
    closedPort = (closed.address() as AddressInfo).port
    closed.close()
  })
  afterAll(async () => {
    open.close()
    await world.close()
  })
  beforeEach(async () => {
    world.clockOffsetMs = 0
    lab = await world.makeCluster()
    layer = swarmIdOf({ cluster: lab.cluster, registry: world.registry.config.host, ...LAYER })
  })

  const seeding = (listenPort: number, version?: number) => ({
    ...{ isFullInventory: true, holds: [{ swarm: layer, isSeed: true }], listenPort },
    ...(version === undefined ? {} : { wire: version }),
  })

  /** A seed that the tracker has tried to reach. */
  async function seed(listenPort: number, version?: number): Promise<TestNode> {
    const node = await world.joined(lab)
    await node.heartbeat(seeding(listenPort, version))
    const isTried = async () =>
      (await node.heartbeat(seeding(listenPort, version))).body.listing !== undefined
    await expect.poll(isTried, { interval: 20, timeout: 5000 }).toBe(true)
    return node
  }

  /** Whom a node of this version hears of with its pull. */
  async function peersFor(version?: number, listenPort = openPort): Promise<Record<string, unknown>[]> {
    const node = await world.joined(lab)
    const inventory = { isFullInventory: true, listenPort }
    await node.heartbeat(version === undefined ? inventory : { ...inventory, wire: version })
    return (await node.pull()).body.swarms[0].peers
  }

  it('gives a node that names the version a certificate for its own key, and others none', async () => {
    const node = world.newNode()
    const publicKey = publicKeyOf(node.key)
    const { body } = await node.post('/v1/nodes', { joinToken: lab.joinToken, publicKey, wire })
    const { linkCertificate, ...rest } = joinResponse.parse(body)
    expect(rest.wire).toBe(wire)
    const certificate = new X509Certificate(linkCertificate!.certificate)
    expect(linkHolderOf(certificate)).toEqual({ kind: 'link', cluster: lab.cluster, node: body.node })
    expect(certificate.checkPrivateKey(node.key)).toBe(true)
    expect(certificate.verify(new X509Certificate(body.authorities[0]).publicKey)).toBe(true)
    expect(linkCertificate!.validForSeconds).toBe(3600)
    const { body: old } = await world.newNode().join(lab.joinToken)
    expect([old.wire, old.linkCertificate]).toEqual([wire, undefined])
  })

  it('renews it with a heartbeat, on record, and only when asked', async () => {
    const node = await world.joined(lab)
    const { body } = await node.heartbeat({ wire, wantsLinkCertificate: true })
    const { linkCertificate } = heartbeatResponse.parse(body)
    expect(claimsOf(new X509Certificate(linkCertificate!.certificate))).toMatchObject({ node: node.node })
    expect(new X509Certificate(linkCertificate!.certificate).checkPrivateKey(node.key)).toBe(true)
    expect((await node.heartbeat({ wire })).body.linkCertificate).toBe(null)
    const { body: log } = await world.admin().request('GET', '/admin/v1/audit?limit=5')
    const lines = (log.entries as { action: string; target: string }[]).filter(
      ({ action, target }) => action === 'link certificate issued' && target === node.node,
    )
    expect(lines).toHaveLength(1)
  })

  it.each([0, 1.5, 1001, '2', null])('refuses the version %j', async (version) => {
    const node = await world.joined(lab)
    expect((await node.heartbeat({ wire: version })).body.error.code).toBe('INVALID_INPUT')
    const publicKey = publicKeyOf(node.key)
    expect((await node.post('/v1/nodes', { publicKey, wire: version })).body.error.code).toBe('INVALID_INPUT')
  })

  it('names to each node those with which it has a version in common, old and new ones to each other', async () => {
    const [first, second, third] = [await seed(openPort), await seed(openPort, 2), await seed(openPort, 3)]
    const named = async (version?: number) =>
      new Set((await peersFor(version)).map(({ node }) => node).filter((node) => seeds.has(node)))
    const seeds = new Set<unknown>([first, second, third].map(({ node }) => node))
    expect(await named()).toEqual(new Set([first.node, second.node]))
    expect(await named(2)).toEqual(seeds)
    expect(await named(3)).toEqual(new Set([second.node, third.node]))
  })

  it('tells the version of each peer, also after a restart of the tracker, and the operator that of each node', async () => {
    const [old, young] = [await seed(openPort), await seed(openPort, 2)]
    await young.post('/v1/nodes', { publicKey: publicKeyOf(young.key), wire })
    await world.restart()
    for (const node of [old, young]) await node.close()
    const peers = await peersFor(2)
    const at = { address: '127.0.0.1', port: openPort, isSeed: true }
    expect(peers).toHaveLength(2)
    expect(peers).toContainEqual({ node: old.node, ...at })
    expect(peers).toContainEqual({ node: young.node, ...at, wire: 2 })
    const { body } = await world.admin().request('GET', `/admin/v1/nodes?cluster=${lab.cluster}`)
    const wires = new Map((body.nodes as { node: string; wire: number }[]).map((it) => [it.node, it.wire]))
    expect([wires.get(old.node), wires.get(young.node)]).toEqual([1, 2])
  })

  it('tells a node whether the tracker reached its port', async () => {
    const [reached, unreached] = [await seed(openPort, 2), await seed(closedPort, 2)]
    const at = { address: '127.0.0.1' }
    expect((await reached.heartbeat(seeding(openPort, 2))).body.listing).toEqual({
      ...{ ...at, port: openPort, isReached: true },
    })
    expect((await unreached.heartbeat(seeding(closedPort, 2))).body.listing).toEqual({
      ...{ ...at, port: closedPort, isReached: false },
    })
  })

  it('lists a port that it did not reach as one that only dials; to nodes without links as before', async () => {
    const [, unreached] = [await seed(openPort, 2), await seed(closedPort, 2)]
    const entryFor = async (version?: number) =>
      (await peersFor(version)).find(({ node }) => node === unreached.node)
    expect(await entryFor(2)).toMatchObject({ port: closedPort, dialsOnly: true })
    expect(await entryFor()).toEqual({
      ...{ node: unreached.node, address: '127.0.0.1', port: closedPort, isSeed: true, wire: 2 },
    })
  })

  it('takes a tracker that reaches nobody for the reason, and marks no node', async () => {
    const unreached = await seed(closedPort, 2)
    const peer = (await peersFor(2, closedPort)).find(({ node }) => node === unreached.node)
    expect(peer).toBeDefined()
    expect(peer).not.toHaveProperty('dialsOnly')
  })

  it('chooses the peers of all blobs of a pull together', async () => {
    const small = swarmIdOf({ cluster: lab.cluster, registry: world.registry.config.host, ...SMALL })
    const holds = [layer, small].map((swarm) => ({ swarm, isSeed: true }))
    for (let at = 0; at < 30; at += 1) {
      const node = await world.joined(lab)
      await node.heartbeat({ ...seeding(openPort, 2), holds })
    }
    const asker = await world.joined(lab)
    await asker.heartbeat({ isFullInventory: true, wire, listenPort: openPort })
    const blobs = [LAYER, SMALL].map((blob) => ({ ...blob, isWanted: true }))
    const { body } = await asker.pull({ blobs })
    const nodes = (body.swarms as { peers: { node: string }[] }[]).map(({ peers }) =>
      peers.map((it) => it.node),
    )
    expect(nodes.map(({ length }) => length)).toEqual([24, 24])
    expect(new Set(nodes.flat()).size).toBe(24)
    const wantsPeers = [layer, small]
    const beat = { wire, listenPort: openPort, wantsPeers }
    const { body: later } = await asker.heartbeat(beat)
    expect(
      new Set(
        (later.peers as { peers: { node: string }[] }[]).flatMap(({ peers }) => peers.map((it) => it.node)),
      ).size,
    ).toBe(24)
  })
})
