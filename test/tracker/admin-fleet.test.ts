import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminWorld, startAdminWorld } from './admin-world.ts'
import {
  type Answer,
  hashesOf,
  LAYER,
  LAYER_PIECES,
  type TestCluster,
  type TestNode,
  wireHashes,
} from './test-tracker.ts'

const codeOf = ({ status, body }: Answer) => (status < 300 ? 'done' : (body.error.code as string))

describe('nodes in the admin API', () => {
  let world: AdminWorld
  let cluster: TestCluster
  let nodes: TestNode[]
  beforeAll(async () => {
    world = await startAdminWorld()
    cluster = await world.makeCluster('fleet')
    nodes = []
    for (let count = 0; count < 5; count++) nodes.push(await world.joined(cluster))
  })
  afterAll(() => world.close())

  const of = (node: TestNode) => ({ cluster: cluster.cluster, node: node.node })
  const listed = async (input: object) =>
    (await world.socket('nodes.list', input)).body.nodes.map(({ node }: { node: string }) => node)

  it('are listed in parts that together are all of them, whatever the size of a part', async () => {
    const all = nodes.map(({ node }) => node).toSorted()
    for (const limit of [1, 2, 4, 5, 1000]) {
      const found: string[] = []
      let cursor: string | null | undefined
      let parts = 0
      do {
        const { body } = await world.socket('nodes.list', { limit, ...(cursor && { cursor }) })
        found.push(...body.nodes.map(({ node }: { node: string }) => node))
        cursor = body.next
        parts += 1
      } while (cursor !== null && parts < 10)
      expect(found).toEqual(all)
      expect(parts).toBe(Math.ceil(all.length / limit))
    }
  })

  it.each(['nonsense', 'a b c d', '\u0000 x', `${'x '.repeat(20)}x`])(
    'are not listed from %j on',
    async (cursor) => {
      for (const name of ['nodes.list', 'pulls.list', 'images.list', 'audit.list'] as const)
        expect(codeOf(await world.socket(name, { cursor })), name).toBe('INVALID_INPUT')
    },
  )

  it.each([
    ['pulls.list', { cursor: 'never 0123' }],
    ['pulls.list', { cursor: '1e400 0123' }],
    ['pulls.list', { registry: 'a\u0000b' }],
    ['images.list', { registry: '\u0000' }],
    ['audit.list', { actor: 'a\u0000' }],
  ] as const)('are not looked for by what no database takes: %s %j', async (name, input) => {
    expect(codeOf(await world.socket(name, input))).toBe('INVALID_INPUT')
  })

  it('have labels, by which they are found, also after a restart', async () => {
    const [one, two] = nodes as [TestNode, TestNode]
    await world.socket('nodes.label', { ...of(one), labels: { zone: 'a', rack: '1' } })
    await world.socket('nodes.label', { ...of(two), labels: { zone: 'b' } })
    await world.restart()
    expect(await listed({ label: 'zone' })).toEqual([one.node, two.node].toSorted())
    expect(await listed({ label: 'zone=a' })).toEqual([one.node])
    expect(await listed({ label: 'zone=' })).toEqual([])
    expect(await listed({ label: 'constructor' })).toEqual([])
    const { body } = await world.socket('nodes.inspect', of(one))
    expect(body.node.labels).toEqual({ zone: 'a', rack: '1' })
    await world.socket('nodes.label', { ...of(one), labels: {} })
    expect(await listed({ label: 'zone' })).toEqual([two.node])
  })

  it.each([
    ['a name of 64 characters', { [`a${'b'.repeat(63)}`]: 'x' }],
    ['a value with an escape', { zone: '\u001b[2J' }],
    ['an empty value', { zone: '' }],
    ['too many', Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`l${at}`, 'x']))],
    ['a number as value', { zone: 1 }],
  ])('take no labels with %s', async (_, labels) => {
    expect(codeOf(await world.socket('nodes.label', { ...of(nodes[0]!), labels }))).toBe('INVALID_INPUT')
  })

  it('that the tracker hears of are told apart from silent, drained, paused and revoked ones', async () => {
    const [one, two, three] = nodes as [TestNode, TestNode, TestNode]
    expect((await one.heartbeat({ isFullInventory: true })).status).toBe(200)
    await world.socket('nodes.drain', of(two))
    await world.socket('nodes.pause', of(three))
    expect(await listed({ state: 'heard' })).toEqual([one.node])
    expect(await listed({ state: 'drained' })).toEqual([two.node])
    expect(await listed({ state: 'paused' })).toEqual([three.node])
    expect((await listed({ state: 'silent' })).toSorted()).toEqual(
      nodes
        .filter((node) => node !== one)
        .map(({ node }) => node)
        .toSorted(),
    )
    await world.socket('nodes.undrain', of(two))
    await world.socket('nodes.resume', of(three))
    expect(await listed({ state: 'drained' })).toEqual([])
    expect(codeOf(await world.socket('nodes.list', { state: 'asleep' }))).toBe('INVALID_INPUT')
  })

  it('that are forgotten are refused until they join again, and their marks do not matter to others', async () => {
    const gone = nodes.pop()!
    expect((await gone.heartbeat()).status).toBe(200)
    expect(codeOf(await world.socket('nodes.forget', of(gone)))).toBe('done')
    expect(codeOf(await gone.heartbeat())).toBe('CERTIFICATE_REFUSED')
    for (const name of ['nodes.forget', 'nodes.inspect', 'nodes.drain'] as const)
      expect(codeOf(await world.socket(name, of(gone))), name).toBe('NODE_UNKNOWN')
    expect(codeOf(await world.socket('nodes.label', { ...of(gone), labels: {} }))).toBe('NODE_UNKNOWN')
    await gone.present(undefined)
    expect((await gone.join(cluster.joinToken)).status).toBe(200)
    expect((await gone.heartbeat()).status).toBe(200)
  })

  it('that are drained are named to nobody as peers, and still hear of others', async () => {
    const [holder, other] = nodes as [TestNode, TestNode]
    const granted = await holder.pull()
    const [{ swarm, lease }] = granted.body.swarms
    const published = {
      pull: granted.body.pull,
      lease: lease.lease,
      hashes: wireHashes(hashesOf(LAYER_PIECES)),
    }
    expect((await holder.hashes(swarm, published)).status).toBe(200)
    await holder.heartbeat({ isFullInventory: true, holds: [{ swarm, isSeed: true }] })
    const peersOf = async (node: TestNode) =>
      (await node.pull({ blobs: [{ ...LAYER, isWanted: true }] })).body.swarms[0].peers.map(
        (peer: { node: string }) => peer.node,
      )
    expect(await peersOf(other)).toEqual([holder.node])
    await world.socket('nodes.drain', of(holder))
    expect(await peersOf(other)).toEqual([])
    expect(await peersOf(holder)).toEqual([other.node])
    await world.socket('nodes.undrain', of(holder))
    expect(await peersOf(other)).toEqual([holder.node])
  })

  it('and blobs, pulls and images are seen by a reader, without keys and tokens', async () => {
    const reader = (name: Parameters<typeof world.socket>[0], input: object) =>
      world.remote('reader', name, input)
    const { swarms } = (await reader('swarms.list', {})).body
    expect(swarms).toMatchObject([
      { digest: LAYER.digest, bytes: LAYER.bytes, pieces: LAYER_PIECES, seeds: 1 },
    ])
    const inspected = (await reader('swarms.inspect', { cluster: cluster.cluster, swarm: swarms[0].swarm }))
      .body
    expect(inspected).toMatchObject({ piecesInAll: LAYER_PIECES, disputes: 0 })
    expect(inspected.holders).toContain(nodes[0]!.node)
    const { images } = (await reader('images.list', {})).body
    expect(images).toMatchObject([{ registry: world.registry.host, repository: 'team/app', nodes: 2 }])
    const { pulls } = (await reader('pulls.list', { node: nodes[0]!.node, limit: 1 })).body
    const pull = await reader('pulls.inspect', { pull: pulls[0].pull })
    expect(pull.body.blobs).toMatchObject([{ digest: LAYER.digest }])
    expect(JSON.stringify(pull.body)).not.toMatch(/PRIVATE|eyJ|sealed|spki/)
    const settings = await reader('settings.list', {})
    expect(settings.body.settings.map(({ name }: { name: string }) => name)).toContain('unlockKeyFile')
    expect(JSON.stringify(settings.body)).not.toMatch(/SHOALKEY-1-[\w-]/)
    expect(codeOf(await reader('pulls.inspect', { pull: 'f'.repeat(32) }))).toBe('PULL_UNKNOWN')
    const nowhere = { cluster: cluster.cluster, swarm: 'f'.repeat(40) }
    expect(codeOf(await reader('swarms.inspect', nowhere))).toBe('SWARM_UNKNOWN')
  })
})
