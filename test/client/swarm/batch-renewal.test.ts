import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { pino } from 'pino'
import { beforeEach, describe, expect, it } from 'vitest'
import { ClusterTrustState } from '../../../client/membership/cluster-trust.ts'
import type { TrackerClient } from '../../../client/membership/tracker-client.ts'
import { Bitfield } from '../../../client/store/bitfield.ts'
import type { StoredBlob } from '../../../client/store/blob-store.ts'
import { PieceHashes } from '../../../client/store/piece-hashes.ts'
import { AnnounceablePieces } from '../../../client/swarm/announceable-pieces.ts'
import { BatchRenewal } from '../../../client/swarm/batch-renewal.ts'
import type { BatchesRequest } from '../../../core/batches-api.ts'
import { batchKeyToRaw, type HashBatch, signHashBatch } from '../../../core/hash-batch.ts'
import { type ClusterId, PIECE_HASH_BYTES, type PieceIndex, type SwarmId } from '../../../core/metainfo.ts'
import type { TokenKeys } from '../../../core/token-keys.ts'

const CLUSTER = 'c0123456789abcdef' as ClusterId
const SWARM = 'a'.repeat(40) as SwarmId
const PIECES = 8
const hashOf = (text: string) => createHash('sha256').update(text).digest()
const HONEST = Buffer.concat(Array.from({ length: PIECES }, (_, piece) => hashOf(`piece ${piece}`)))
const FORGED = Buffer.concat(Array.from({ length: PIECES }, (_, piece) => hashOf(`forged ${piece}`)))

const newKey = () => generateKeyPairSync('ed25519').privateKey
const sliceOf = (hashes: Buffer, from: number, to: number) =>
  hashes.subarray(from * PIECE_HASH_BYTES, to * PIECE_HASH_BYTES)

describe('a blob whose hashes a previous key signed', () => {
  const [old, next] = [newKey(), newKey()]
  let trust: ClusterTrustState
  let stored: StoredBlob
  let pieces: AnnounceablePieces
  let renewal: BatchRenewal
  /** What the tracker has, and whether it answers. */
  let tracker: { status: HashBatch['status']; isUp: boolean; calls: number }

  beforeEach(() => {
    trust = new ClusterTrustState({ adopt: () => undefined } as unknown as TokenKeys)
    trust.cluster = CLUSTER
    trustIn(old)
    tracker = { status: 'claimed', isUp: true, calls: 0 }
    stored = {
      swarm: SWARM,
      layout: { pieceCount: PIECES },
      hashes: new PieceHashes(PIECES),
      have: new Bitfield(PIECES),
      isMatched: false,
      markDirty: () => undefined,
      save: () => undefined,
    } as unknown as StoredBlob
    pieces = new AnnounceablePieces(stored)
    renewal = new BatchRenewal({
      ...{ stored, trust, log: pino({ level: 'silent' }) },
      tracker: { batches: async (_swarm: SwarmId, asked: BatchesRequest) => answer(asked) } as TrackerClient,
      learnBatches: (batches) => {
        for (const batch of batches) pieces.learn(batch)
      },
      retain: (isSigned) => void pieces.retain(isSigned),
    })
  })

  function trustIn(...keys: KeyObject[]): void {
    trust.update({ authorities: [], batchKeys: keys.map(batchKeyToRaw), tokenKeys: [] })
  }
  function signed(
    by: KeyObject,
    of: Buffer,
    from: number,
    to: number,
    status: HashBatch['status'] = 'claimed',
  ) {
    const hashes = sliceOf(of, from, to)
    return signHashBatch(by, CLUSTER, { swarm: SWARM, epoch: 0, status, firstPiece: from, hashes })
  }
  function answer({ runs }: BatchesRequest) {
    tracker.calls += 1
    if (!tracker.isUp) throw new Error('no answer')
    const good = runs.filter(({ firstPiece, pieces, sha256 }) => {
      const hashes = sliceOf(HONEST, firstPiece, firstPiece + pieces)
      return createHash('sha256').update(hashes).digest('base64url') === sha256
    })
    const batches = good.map(({ firstPiece, pieces }) =>
      signed(next, HONEST, firstPiece, firstPiece + pieces, tracker.status),
    )
    return { batches }
  }
  const has = (...indexes: number[]) => {
    for (const piece of indexes as PieceIndex[]) pieces.add(piece, stored.hashes.get(piece)!)
  }
  const isAllNew = () => stored.hashes.batches.every((batch) => trust.isNewlySigned(batch))

  it('is left alone while that key signs', async () => {
    pieces.learn(signed(old, HONEST, 0, PIECES))
    await renewal.run()
    trustIn(old, next)
    await renewal.run()
    expect(tracker.calls).toBe(0)
  })

  it('has them signed again once, as one batch in place of many, and keeps all pieces', async () => {
    for (const from of [0, 2, 4]) pieces.learn(signed(old, HONEST, from, from + 2))
    has(0, 1, 2)
    trustIn(next, old)
    await Promise.all([renewal.run(), renewal.run()])
    await renewal.run()
    expect(tracker.calls).toBe(1)
    expect(stored.hashes.batches).toMatchObject([{ firstPiece: 0, hashes: sliceOf(HONEST, 0, 6) }])
    expect(isAllNew()).toBe(true)
    trustIn(next)
    await renewal.run()
    expect(tracker.calls).toBe(1)
    expect([stored.have.count, pieces.announceable().count]).toEqual([3, 3])
  })

  it('asks again when the tracker did not answer, and drops nothing meanwhile', async () => {
    pieces.learn(signed(old, HONEST, 0, PIECES))
    has(0)
    trustIn(next)
    tracker.isUp = false
    await renewal.run()
    expect([stored.have.count, stored.hashes.isComplete]).toEqual([1, true])
    tracker.isUp = true
    await renewal.run()
    expect(isAllNew()).toBe(true)
    expect(stored.hashes.isComplete).toBe(true)
  })

  it('drops hashes that the thief of that key invented, with their pieces, once the key is withdrawn', async () => {
    pieces.learn(signed(old, HONEST, 0, 2))
    pieces.learn(signed(old, FORGED, 4, 6, 'confirmed'))
    has(0, 4)
    // Of the registry's own: right, whatever a hash says.
    pieces.add(5 as PieceIndex, hashOf('piece 5'))
    trustIn(next, old)
    await renewal.run()
    expect(stored.have.count).toBe(3)
    trustIn(next)
    await renewal.run()
    expect([0, 4, 5].map((piece) => stored.have.has(piece as PieceIndex))).toEqual([true, false, true])
    expect([0, 4, 5].map((piece) => stored.hashes.has(piece as PieceIndex))).toEqual([true, false, false])
    pieces.learn(signed(next, HONEST, 4, 6))
    expect(pieces.isAnnounceable(5 as PieceIndex)).toBe(true)
  })

  it('keeps a blob that was matched as a whole, without the hashes', async () => {
    pieces.learn(signed(old, FORGED, 0, PIECES, 'confirmed'))
    has(...Array(PIECES).keys())
    stored.isMatched = true
    trustIn(next)
    await renewal.run()
    expect(stored.have.isFull).toBe(true)
    expect(stored.hashes.firstUnknown()).toBe(0)
  })

  it('is no longer confirmed when only the thief confirmed it', async () => {
    pieces.learn(signed(old, HONEST, 0, PIECES, 'confirmed'))
    expect(stored.hashes.isConfirmed).toBe(true)
    trustIn(next)
    await renewal.run()
    expect([stored.hashes.isComplete, stored.hashes.isConfirmed]).toEqual([true, false])
  })

  it('is confirmed when the tracker has confirmed it meanwhile', async () => {
    pieces.learn(signed(old, HONEST, 0, PIECES))
    tracker.status = 'confirmed'
    trustIn(next)
    await renewal.run()
    expect(stored.hashes.isConfirmed).toBe(true)
    expect(stored.hashes.batches).toHaveLength(1)
  })

  it('is passed on by peers without the news: their batches do not count, and are no breach', () => {
    const [before, stranger] = [signed(old, HONEST, 0, 2), signed(newKey(), HONEST, 0, 2)]
    expect(trust.isCounted(before)).toBe(true)
    trustIn(next)
    expect(trust.isCounted(before)).toBe(false)
    expect(trust.isCounted(signed(next, HONEST, 0, 2))).toBe(true)
    expect(() => trust.isCounted(stranger)).toThrow(expect.objectContaining({ code: 'PEER_PROTOCOL' }))
    // Not for ever.
    for (let change = 0; change < 5; change += 1) trustIn(newKey())
    expect(() => trust.isCounted(before)).toThrow(expect.objectContaining({ code: 'PEER_PROTOCOL' }))
  })
})
