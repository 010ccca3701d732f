import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { batchKeyFromRaw, isHashBatchSigned } from '../../core/hash-batch.ts'
import { completeResponse, hashesResponse } from '../../core/tracker-api.ts'
import {
  hashesOf,
  LAYER_PIECES,
  SMALL,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
  wireHashes,
} from './test-tracker.ts'

const HONEST = hashesOf(LAYER_PIECES)
const LYING = hashesOf(LAYER_PIECES, 'lying')

/** What a node needs to know of its pull of the layer. */
interface Pulling {
  node: TestNode
  pull: string
  swarm: string
  lease: { lease: string; firstPiece: number; pieces: number } | null
  batchKeys: string[]
}

describe('a swarm', () => {
  let world: World
  let lab: TestCluster
  let one: Pulling

  beforeAll(async () => {
    world = await startWorld()
  })
  afterAll(() => world.close())
  beforeEach(async () => {
    world.clockOffsetMs = 0
    lab = await world.makeCluster()
    one = await pulling()
  })

  async function pulling(): Promise<Pulling> {
    const node = await world.joined(lab)
    const { body } = await node.pull()
    const { swarm, lease } = body.swarms[0]
    return { node, pull: body.pull, swarm, lease, batchKeys: body.trust.batchKeys }
  }

  const publish = ({ node, swarm, pull, lease }: Pulling, from: number, to: number, changes = {}) =>
    node.hashes(swarm, {
      pull,
      lease: lease?.lease ?? null,
      firstPiece: from,
      hashes: wireHashes(HONEST, from, to),
      ...changes,
    })

  const askLease = ({ node, swarm, pull }: Pulling, changes = {}) =>
    node.hashes(swarm, { pull, wantsLease: true, ...changes })

  const named = (pieces: number[], hashes = LYING) =>
    pieces.map((piece) => ({ piece, hash: wireHashes(hashes, piece, piece + 1) }))

  it('gives the first asker a lease of the whole blob and the second one a time to ask again', async () => {
    expect(one.lease).toMatchObject({ firstPiece: 0, pieces: LAYER_PIECES, expiresInMs: 10_000 })
    const two = await pulling()
    expect(two.lease).toBeNull()
    const { body } = await askLease(two)
    expect(body.lease).toBeNull()
    expect(body.retryInMs).toBeGreaterThan(0)
  })

  it('has those that wait ask again one after the other', async () => {
    const waiting = await pulling()
    const answers = await Promise.all(Array.from({ length: 30 }, () => askLease(waiting)))
    const retriesInMs = answers.map(({ body }) => body.retryInMs!)
    expect(new Set(retriesInMs).size).toBeGreaterThan(10)
  })

  it('signs published hashes for its own cluster', async () => {
    const { status, body } = await publish(one, 0, 2)
    expect(status).toBe(200)
    const { batches, ...answer } = hashesResponse.parse(body)
    expect(answer).toMatchObject({ epoch: 0, status: 'cold' })
    expect(batches).toHaveLength(1)
    const keys = one.batchKeys.map(batchKeyFromRaw)
    expect(isHashBatchSigned(keys, lab.cluster, batches[0]!)).toBe(true)
    expect(isHashBatchSigned(keys, 'c0000000000000000' as never, batches[0]!)).toBe(false)
    expect(batches[0]).toMatchObject({ status: 'claimed', firstPiece: 0, hashes: HONEST.subarray(0, 64) })
  })

  it('hands out all batches from a piece on, joined', async () => {
    const two = await pulling()
    await publish(one, 0, 1)
    await publish(one, 1, 3)
    const { body } = await askLease(two, { batchesFrom: 0 })
    expect(body.batches).toMatchObject([{ firstPiece: 0, hashes: wireHashes(HONEST, 0, 3) }])
    expect((await askLease(two, { batchesFrom: 3 })).body.batches).toEqual([])
  })

  it('is claimed when all hashes are there, and leases nothing more', async () => {
    const { body } = await publish(one, 0, LAYER_PIECES)
    expect(body).toMatchObject({ status: 'claimed', lease: null, retryInMs: null })
    expect((await askLease(await pulling())).body).toMatchObject({ lease: null, retryInMs: null })
  })

  it('leases again what an asker waits for in vain, to one node at a time', async () => {
    await publish(one, 0, LAYER_PIECES)
    const [two, three] = [await pulling(), await pulling()]
    const awaited = [{ firstPiece: 1, pieces: 1 }]
    const leased = await askLease(two, { awaited })
    expect(leased.body.lease).toMatchObject({ firstPiece: 1, pieces: 1 })
    const told = await askLease(three, { awaited })
    expect(told.body.lease).toBeNull()
    expect(told.body.retryInMs).toBeGreaterThan(1_000)
    expect((await askLease(three, { awaited: [{ firstPiece: 0, pieces: 1 }] })).body.lease).not.toBeNull()
    const lying = await publish({ ...two, lease: leased.body.lease }, 1, 2, {
      hashes: wireHashes(LYING, 1, 2),
    })
    expect(lying).toMatchObject({ status: 409, body: { error: { code: 'LEASE_UNKNOWN' } } })
    const again = await publish({ ...two, lease: leased.body.lease }, 1, 2)
    expect(again).toMatchObject({ status: 200, body: { epoch: 0, status: 'claimed' } })
    world.clockOffsetMs = 11_000
    expect((await askLease(three, { awaited })).body.lease).toMatchObject({ firstPiece: 1 })
  })

  it('takes the same publication twice', async () => {
    const first = await publish(one, 0, LAYER_PIECES)
    const second = await publish(one, 0, LAYER_PIECES)
    expect(second.status).toBe(200)
    expect(second.body.batches).toEqual(first.body.batches)
  })

  it('gives the rest of a lease that made no progress to another node', async () => {
    const two = await pulling()
    await publish(one, 0, 1)
    world.clockOffsetMs = 9_000
    await publish(one, 1, 2)
    world.clockOffsetMs = 12_000
    expect((await askLease(two)).body.lease).toBeNull()
    world.clockOffsetMs = 19_500
    const { body } = await askLease(two)
    expect(body.lease).toMatchObject({ firstPiece: 2, pieces: LAYER_PIECES - 2 })
    const late = await publish(one, 2, 3)
    expect([late.status, late.body.error.code]).toEqual([409, 'LEASE_UNKNOWN'])
    expect((await publish({ ...two, lease: body.lease }, 2, LAYER_PIECES)).body.status).toBe('claimed')
  })

  it('gives the rest of a lease to another node, though its holder says again what is known', async () => {
    const two = await pulling()
    await publish(one, 0, 1)
    for (world.clockOffsetMs = 3_000; world.clockOffsetMs < 10_000; world.clockOffsetMs += 3_000)
      expect((await publish(one, 0, 1)).status).toBe(200)
    world.clockOffsetMs = 10_500
    expect((await askLease(two)).body.lease).toMatchObject({ firstPiece: 1, pieces: LAYER_PIECES - 1 })
  })

  it('lets a slow holder go on as long as nobody took its lease', async () => {
    world.clockOffsetMs = 60_000
    expect((await publish(one, 0, 1)).status).toBe(200)
  })

  it('gives a released lease away at once', async () => {
    const two = await pulling()
    await publish(one, 0, 1, { isLeaseReleased: true })
    expect((await askLease(two)).body.lease).toMatchObject({ firstPiece: 1, pieces: LAYER_PIECES - 1 })
  })

  it('has one reader from the start while a node says that the registry ignores ranges: alone for the time of a lease, two for good', async () => {
    const [two, three] = [await pulling(), await pulling()]
    const position = 2
    await publish(one, 0, 1, { isLeaseReleased: true, isRangeIgnored: true })
    const first = await askLease(two, { position })
    expect(first.body.lease).toMatchObject({ firstPiece: 1 })
    await askLease(two, { lease: first.body.lease.lease, isLeaseReleased: true, wantsLease: false })
    world.clockOffsetMs = 10_500
    await askLease(one, { isRangeIgnored: true, wantsLease: false })
    const second = await askLease(two, { position })
    expect(second.body.lease).toMatchObject({ firstPiece: position })
    const told = { lease: second.body.lease.lease, isLeaseReleased: true, isRangeIgnored: true }
    await askLease(two, { ...told, wantsLease: false })
    world.clockOffsetMs = 60_000
    expect((await askLease(three, { position })).body.lease).toMatchObject({ firstPiece: 1 })
  })

  it('leases from the position that the asker reads at', async () => {
    await publish(one, 0, 0, { isLeaseReleased: true })
    const { body } = await askLease(one, { position: 2 })
    expect(body.lease).toMatchObject({ firstPiece: 2, pieces: LAYER_PIECES - 2 })
  })

  it.each([
    ['no lease', { lease: null }, 409, 'LEASE_UNKNOWN'],
    ['a lease that does not exist', { lease: 'f'.repeat(32) }, 409, 'LEASE_UNKNOWN'],
    ['a later epoch', { epoch: 1 }, 409, 'EPOCH_STALE'],
    ['pieces that the blob does not have', { firstPiece: LAYER_PIECES }, 400, 'INVALID_INPUT'],
    ['half a hash', { hashes: 'AAAA' }, 400, 'INVALID_INPUT'],
    ['a pull that does not exist', { pull: 'f'.repeat(32) }, 404, 'PULL_UNKNOWN'],
  ])('takes no hashes with %s', async (_, changes, status, code) => {
    const answer = await publish(one, 0, 1, changes)
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  it("takes no hashes under another node's lease", async () => {
    const two = await pulling()
    const answer = await publish({ ...two, lease: one.lease }, 0, 1)
    expect([answer.status, answer.body.error.code]).toEqual([409, 'LEASE_UNKNOWN'])
  })

  it('leases nothing under a pull that has ended or does not name the blob', async () => {
    const two = await world.joined(lab)
    const { body } = await two.pull({ blobs: [{ ...SMALL, isWanted: true }] })
    const wrong = await askLease({ ...one, node: two, pull: body.pull })
    expect([wrong.status, wrong.body.error.code]).toEqual([403, 'SWARM_NOT_GRANTED'])
    world.clockOffsetMs = 1_801_000
    const ended = await askLease(one)
    expect([ended.status, ended.body.error.code]).toEqual([403, 'PULL_ENDED'])
  })

  it('is confirmed when two nodes matched the whole blob, and signs everything anew', async () => {
    const two = await pulling()
    await publish(one, 0, LAYER_PIECES)
    expect((await one.node.complete(one.swarm)).body).toMatchObject({ status: 'claimed', batches: [] })
    expect((await one.node.complete(one.swarm)).body.status).toBe('claimed')
    const { body } = await two.node.complete(one.swarm)
    const { status, batches } = completeResponse.parse(body)
    expect(status).toBe('confirmed')
    expect(batches).toMatchObject([{ status: 'confirmed', firstPiece: 0, hashes: HONEST }])
    expect(isHashBatchSigned(one.batchKeys.map(batchKeyFromRaw), lab.cluster, batches[0]!)).toBe(true)
  })

  it('is not confirmed by who matched pieces only, or the whole before all hashes were known', async () => {
    const [two, three] = [await pulling(), await pulling()]
    await two.node.complete(one.swarm)
    await publish(one, 0, LAYER_PIECES)
    await one.node.complete(one.swarm)
    expect((await three.node.complete(one.swarm, { matched: 'pieces' })).body.status).toBe('claimed')
    expect((await three.node.complete(one.swarm, { epoch: 7 })).body).toMatchObject({
      status: 'claimed',
      epoch: 0,
    })
  })

  it('asks two nodes that complete for the SHA-1 hashes, others when those do not bring them, and nobody any more when two gave the same', async () => {
    const [two, three, four] = [await pulling(), await pulling(), await pulling()]
    const wantsSha1 = async ({ node, swarm }: Pulling, piecesSha1: string | null = null) =>
      (await node.complete(swarm, { piecesSha1 })).body.wantsSha1
    await two.node.complete(one.swarm)
    expect(await wantsSha1(one)).toBe(false)
    await publish(one, 0, LAYER_PIECES)
    expect(await wantsSha1(one)).toBe(true)
    expect(await wantsSha1(two)).toBe(true)
    expect(await wantsSha1(three)).toBe(false)
    const short = await one.node.complete(one.swarm, { piecesSha1: Buffer.alloc(19).toString('base64url') })
    expect([short.status, short.body.error.code]).toEqual([400, 'INVALID_INPUT'])
    const piecesSha1 = Buffer.alloc(20 * LAYER_PIECES, 1).toString('base64url')
    expect(await wantsSha1(one, piecesSha1)).toBe(false)
    expect(await wantsSha1(three)).toBe(false)
    world.clockOffsetMs = 61_000
    expect(await wantsSha1(three)).toBe(true)
    await wantsSha1(three, piecesSha1)
    expect(await wantsSha1(four)).toBe(false)
  })

  it('drops the pieces of a mismatch, raises the epoch and leases them to a third node', async () => {
    const [two, three] = [await pulling(), await pulling()]
    await publish(one, 0, LAYER_PIECES)
    await one.node.complete(one.swarm)
    const { status, body } = await two.node.mismatch(one.swarm, { pieces: named([2]) })
    expect([status, body.epoch]).toEqual([200, 1])
    expect((await askLease(one)).body).toMatchObject({ epoch: 1, status: 'cold', lease: null })
    expect((await askLease(two)).body.lease).toBeNull()
    const { lease, batches } = (await askLease(three, { batchesFrom: 0 })).body
    expect(lease).toMatchObject({ firstPiece: 2, pieces: 1 })
    expect(batches).toMatchObject([
      { epoch: 1, firstPiece: 0, hashes: wireHashes(HONEST, 0, 2) },
      { epoch: 1, firstPiece: 3, hashes: wireHashes(HONEST, 3, 4) },
    ])
    const old = await publish({ ...three, lease }, 2, 3)
    expect(old.body.error.code).toBe('EPOCH_STALE')
    expect((await publish({ ...three, lease }, 2, 3, { epoch: 1 })).status).toBe(200)
  })

  it('has two other nodes fetch a disputed piece, and signs the hash that both found', async () => {
    const [two, three, four, five] = [await pulling(), await pulling(), await pulling(), await pulling()]
    await publish(one, 0, LAYER_PIECES)
    await two.node.mismatch(one.swarm, { pieces: named([2]) })
    const { lease } = (await askLease(three)).body
    const second = (await askLease(four)).body.lease
    expect([lease, second]).toMatchObject([
      { firstPiece: 2, pieces: 1 },
      { firstPiece: 2, pieces: 1 },
    ])
    expect((await askLease(five)).body.lease).toBeNull()
    const first = await publish({ ...three, lease }, 2, 3, { epoch: 1 })
    expect(first.body).toMatchObject({ status: 'cold', batches: [] })
    const agreed = await publish({ ...four, lease: second }, 2, 3, { epoch: 1 })
    expect(agreed.body).toMatchObject({ status: 'claimed', batches: [{ firstPiece: 2 }] })
  })

  it('signs no hash of a disputed piece that only one node found, whoever asks for it', async () => {
    const [two, three, four, five] = [await pulling(), await pulling(), await pulling(), await pulling()]
    await publish(one, 0, LAYER_PIECES)
    await two.node.mismatch(one.swarm, { pieces: named([2]) })
    const lying = { hashes: wireHashes(LYING, 2, 3), epoch: 1 }
    const told = async (asker: Pulling, changes: object) => {
      const { lease } = (await askLease(asker)).body
      return (await publish({ ...asker, lease }, 2, 3, { epoch: 1, ...changes })).body.status
    }
    expect(await told(three, lying)).toBe('cold')
    expect((await askLease(three)).body.lease).toBeNull()
    expect(await told(four, {})).toBe('cold')
    expect(await told(five, {})).toBe('claimed')
    const { batches } = (await askLease(two, { batchesFrom: 2 })).body
    expect(batches).toMatchObject([{ firstPiece: 0, hashes: wireHashes(HONEST, 0, LAYER_PIECES) }])
  })

  it('leases a disputed piece to anyone after a minute', async () => {
    await publish(one, 0, LAYER_PIECES)
    const two = await pulling()
    await two.node.mismatch(one.swarm, { pieces: named([0]) })
    world.clockOffsetMs = 61_000
    expect((await askLease(two)).body.lease).toMatchObject({ firstPiece: 0, pieces: 1 })
  })

  it.each([
    ['names no piece that differs', () => ({ pieces: named([1], HONEST) }), 409, 'MISMATCH_UNFOUNDED'],
    [
      'names a piece that is not there',
      () => ({ pieces: named([0]).map((it) => ({ ...it, piece: 99 })) }),
      400,
      'INVALID_INPUT',
    ],
  ])('refuses a mismatch that %s', async (_, report, status, code) => {
    await publish(one, 0, LAYER_PIECES)
    const two = await pulling()
    const answer = await two.node.mismatch(one.swarm, report())
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  it('takes one mismatch in ten minutes from a node, and none of an older epoch', async () => {
    await publish(one, 0, LAYER_PIECES)
    const two = await pulling()
    await two.node.mismatch(one.swarm, { pieces: named([0]) })
    const again = await two.node.mismatch(one.swarm, { epoch: 1, pieces: named([1]) })
    expect([again.status, again.body.error.code]).toEqual([429, 'MISMATCH_TOO_OFTEN'])
    const stale = await one.node.mismatch(one.swarm, { epoch: 0, pieces: named([1]) })
    expect([stale.status, stale.body.epoch]).toEqual([200, 1])
  })

  it('answers alike about a blob that the cluster has and one that it has not', async () => {
    const stranger = await world.joined(lab)
    const outsider = await world.joined(await world.makeCluster('outside'))
    for (const node of [stranger, outsider]) {
      const [held, absent] = [one.swarm, '0'.repeat(40)]
      expect(await node.complete(absent)).toEqual(await node.complete(held))
      const report = { pieces: named([0]) }
      expect(await node.mismatch(absent, report)).toEqual(await node.mismatch(held, report))
    }
  })

  it('takes word of completion and mismatch only from nodes that were granted the blob', async () => {
    const stranger = await world.joined(lab)
    const complete = await stranger.complete(one.swarm)
    const mismatch = await stranger.mismatch(one.swarm, { pieces: named([0]) })
    expect([complete.body.error.code, mismatch.body.error.code]).toEqual([
      'SWARM_NOT_GRANTED',
      'SWARM_NOT_GRANTED',
    ])
    expect((await stranger.complete('not-an-id')).body.error.code).toBe('INVALID_INPUT')
  })
})
