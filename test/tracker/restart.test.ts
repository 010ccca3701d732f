import type { ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MEMORY_SAVE_MS } from '../../tracker/saved-memory.ts'
import {
  hashesOf,
  LAYER_PIECES,
  newClusterSecrets,
  newUnlockKey,
  sha256,
  startWorld,
  type World,
  wireHashes,
} from './test-tracker.ts'
import { kill, spawnTracker as spawnProcess } from './tracker-process.ts'

const HASHES = hashesOf(LAYER_PIECES)

describe('a tracker that starts again', () => {
  let world: World
  const running: ChildProcess[] = []

  beforeEach(async () => {
    world = await startWorld()
  })
  afterEach(async () => {
    for (const child of running.splice(0)) await kill(child)
    await world.close()
  })

  const spawnTracker = async (cluster?: object) => {
    const child = await spawnProcess(world, cluster)
    running.push(child)
    return child
  }

  it('after SIGKILL goes on with an unfinished swarm, its lease, its pull, its cluster and its nodes', async () => {
    const { cluster, joinToken, joinTokenHash } = newClusterSecrets()
    const first = await spawnTracker({ cluster, name: 'lab', joinTokenHash })
    const node = world.newNode()
    await node.join(joinToken)
    const { body: granted } = await node.pull()
    const { swarm, lease } = granted.swarms[0]
    const publishing = { pull: granted.pull, lease: lease.lease }
    const before = await node.hashes(swarm, { ...publishing, hashes: wireHashes(HASHES, 0, 2) })
    await kill(first)
    await node.close()

    await spawnTracker()
    const { status, body } = await node.hashes(swarm, {
      ...publishing,
      firstPiece: 2,
      hashes: wireHashes(HASHES, 2),
      batchesFrom: 0,
    })
    expect([status, body.status]).toEqual([200, 'claimed'])
    expect(body.batches[1]).toMatchObject({ firstPiece: 0, hashes: wireHashes(HASHES) })
    expect(before.body.batches[0].hashes).toBe(wireHashes(HASHES, 0, 2))
    expect((await node.heartbeat()).body).toMatchObject({
      wantsFullInventory: true,
      trust: { batchKeys: granted.trust.batchKeys, authorities: granted.trust.authorities },
    })
    expect((await node.post(`/v1/pulls/${granted.pull}/renew`, {})).status).toBe(200)
    expect((await world.newNode().join(joinToken)).status).toBe(200)
  })

  it('keeps epochs, disputes, completions, revocations and the audit log', async () => {
    const lab = await world.makeCluster()
    const [one, two, bad] = [await world.joined(lab), await world.joined(lab), await world.joined(lab)]
    const { body: granted } = await one.pull()
    const { swarm, lease } = granted.swarms[0]
    await one.hashes(swarm, { pull: granted.pull, lease: lease.lease, hashes: wireHashes(HASHES) })
    await two.pull()
    const hash = wireHashes(hashesOf(LAYER_PIECES, 'lying'), 3, 4)
    await two.mismatch(swarm, { pieces: [{ piece: 3, hash }] })
    await world.admin().post('/admin/v1/revocations', { cluster: lab.cluster, node: bad.node })
    await world.restart()
    for (const node of [one, two, bad]) await node.close()

    const three = await world.joined(lab)
    const { body: third } = await three.pull()
    const { lease: rest, ...state } = third.swarms[0]
    expect(state).toMatchObject({ epoch: 1, status: 'cold' })
    expect(rest).toMatchObject({ firstPiece: 3, pieces: 1 })
    const last = {
      pull: third.pull,
      lease: rest.lease,
      epoch: 1,
      firstPiece: 3,
      hashes: wireHashes(HASHES, 3),
    }
    expect((await three.hashes(swarm, last)).body.status).toBe('cold')
    await world.restart()
    for (const node of [one, two, three]) await node.close()
    const four = await world.joined(lab)
    const { body: fourth } = await four.pull()
    const same = { ...last, pull: fourth.pull, lease: fourth.swarms[0].lease.lease }
    expect((await four.hashes(swarm, same)).body.status).toBe('claimed')
    expect((await three.complete(swarm, { epoch: 1 })).body.status).toBe('claimed')
    await world.restart()
    await one.close()
    expect((await one.complete(swarm, { epoch: 1 })).body.status).toBe('confirmed')
    await bad.close()
    expect((await bad.heartbeat()).body.error.code).toBe('NODE_REVOKED')
    const told = await one.heartbeat({ isFullInventory: true, holds: [{ swarm, isSeed: true }] })
    expect(told.body.instructions).toEqual([{ kind: 'epoch', swarm, epoch: 1 }])
    const { body } = await world.admin().request('GET', '/admin/v1/audit')
    const actions = body.entries.map(({ action }: { action: string }) => action)
    for (const action of ['cluster created', 'node joined', 'pull granted', 'node revoked']) {
      expect(actions).toContain(action)
    }
    expect(actions).toContain('epoch raised by mismatch')
    expect(body.entries).toContainEqual(
      expect.objectContaining({ action: 'two nodes found another hash than this one', target: two.node }),
    )
  })

  it('lists the seeds that it knew, and asks the registry about no token that it accepted', async () => {
    const lab = await world.makeCluster()
    const [seed, revoked, other] = [await world.joined(lab), await world.joined(lab), await world.joined(lab)]
    const credential = { scheme: 'bearer', token: world.token() }
    const { body: granted } = await seed.pull({ credential })
    const { swarm } = granted.swarms[0]
    const holds = [{ swarm, isSeed: true }]
    for (const node of [seed, revoked]) await node.heartbeat({ isFullInventory: true, holds })
    await world.admin().post('/admin/v1/revocations', { cluster: lab.cluster, node: revoked.node })
    await world.restart()
    for (const node of [seed, revoked, other]) await node.close()
    const asked = world.registry.requests.length
    const { status, body } = await other.pull({ credential })
    expect([status, body.swarms[0].peers.map(({ node }: { node: string }) => node)]).toEqual([
      200,
      [seed.node],
    ])
    expect(world.registry.requests.slice(asked)).toEqual([])
    expect((await seed.heartbeat()).body.wantsFullInventory).toBe(true)
  })

  it('after SIGKILL lists the seeds that it knew seconds before', async () => {
    const { cluster, joinToken, joinTokenHash } = newClusterSecrets()
    const first = await spawnTracker({ cluster, name: 'lab', joinTokenHash })
    const [seed, other] = [world.newNode(), world.newNode()]
    for (const node of [seed, other]) await node.join(joinToken)
    const { swarm } = (await seed.pull()).body.swarms[0]
    await seed.heartbeat({ isFullInventory: true, holds: [{ swarm, isSeed: true }] })
    await delay(MEMORY_SAVE_MS + 500)
    await kill(first)
    for (const node of [seed, other]) await node.close()
    await spawnTracker()
    const { body } = await other.pull()
    expect(body.swarms[0].peers).toMatchObject([{ node: seed.node, isSeed: true }])
  }, 15_000)

  it.each([
    ['another unlock key', newUnlockKey(), 'UNLOCK_KEY'],
    ['a malformed unlock key', 'open sesame', 'UNLOCK_KEY'],
    ['an empty unlock key file', '', 'CONFIG'],
  ])('does not with %s, and says so', async (_, text, code) => {
    writeFileSync(world.config.unlockKeyFile!, text)
    const failure = await world.restart().catch((error: unknown) => error)
    expect(failure).toMatchObject({ code, hint: expect.any(String) })
    world.tracker = { ...world.tracker, close: async () => {} }
  })

  it('does not without its unlock key file', async () => {
    const unlockKeyFile = join(world.dataDir, 'no-such-file')
    await expect(world.restart({ unlockKeyFile })).rejects.toMatchObject({ code: 'CONFIG' })
    world.tracker = { ...world.tracker, close: async () => {} }
  })

  it('has left no key, no join token and no registry token in clear in its folder', async () => {
    const lab = await world.makeCluster()
    const node = await world.joined(lab)
    const token = world.token()
    expect((await node.pull({ credential: { scheme: 'bearer', token } })).status).toBe(200)
    await world.tracker.close()
    world.tracker = { ...world.tracker, close: async () => {} }
    const files = readdirSync(world.dataDir)
    const written = files.map((name) => readFileSync(join(world.dataDir, name), 'latin1')).join('')
    expect(written).toContain(lab.cluster)
    expect(written).not.toContain('PRIVATE KEY')
    expect(written).not.toContain(lab.joinToken)
    for (const part of token.split('.')) expect(written).not.toContain(part)
    expect(written).not.toContain(Buffer.from(sha256(lab.joinToken), 'hex').toString('latin1'))
  })
})
