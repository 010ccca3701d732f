import { describe, expect, it } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { StoreConflictError } from '../../tracker/errors.ts'
import { farHalf, firstFreeRun } from '../../tracker/handout/leases.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { emptyChange } from '../../tracker/store/store.ts'
import {
  PIECES_CACHED_MAX,
  SAVE_ATTEMPTS_MAX,
  SAVE_PAUSE_MS_MAX,
  SWARM_TRUSTED_MS,
  SwarmCache,
} from '../../tracker/swarm/swarm-cache.ts'
import type { SwarmState } from '../../tracker/swarm/swarm-state.ts'
import { hashesOf, LAYER, LAYER_PIECES } from './test-tracker.ts'

const ONE = '1'.repeat(40) as NodeId
const TWO = '2'.repeat(40) as NodeId
const IDENTITY = {
  cluster: `c${'1'.repeat(16)}` as ClusterId,
  swarm: 'a'.repeat(40) as SwarmId,
  registry: 'registry.example.com' as RegistryHost,
  digest: digestFromHex('d'.repeat(64)),
  bytes: LAYER.bytes,
}

function takeLease(state: SwarmState, node: NodeId, lease: string, runPiecesMax = 1) {
  const policy = firstFreeRun(runPiecesMax)
  return state.lease({ lease, node, pull: 'p', position: 0, nowMs: 0, leaseMs: 1000, policy })
}

function publishPiece(state: SwarmState, node: NodeId, lease: string, piece: number, seed?: string) {
  const hashes = hashesOf(LAYER_PIECES, seed).subarray(piece * 32, piece * 32 + 32)
  const at = { epoch: state.epoch, firstPiece: piece, nowMs: 1, leaseMs: 1000 }
  return state.publish({ node, pull: 'p', lease, hashes, ...at })
}

describe('two trackers on one store', () => {
  it('never lease one piece twice, and see what the other published', async () => {
    const store = new SqliteStore(':memory:')
    const caches = [new SwarmCache(store), new SwarmCache(store)]
    const leases = await Promise.all(
      Array.from({ length: LAYER_PIECES }, (_, index) =>
        caches[index % 2]!.open(IDENTITY, (state) => takeLease(state, ONE, `lease ${index}`)),
      ),
    )
    const pieces = leases.map((lease) => lease?.firstPiece)
    expect(pieces.toSorted()).toEqual(Array.from({ length: LAYER_PIECES }, (_, piece) => piece))
    const { cluster, swarm } = IDENTITY
    const { lease, firstPiece } = leases[0]!
    await caches[1]!.step(cluster, swarm, (state) => publishPiece(state, ONE, lease, firstPiece))
    expect(await caches[0]!.step(cluster, swarm, (state) => state.isPublished(firstPiece))).toBe(true)
    await store.close()
  })
})

describe('a step that another tracker outdoes', () => {
  class OutdoneStore extends SqliteStore {
    outdone = 0
    override async saveSwarm(...step: Parameters<SqliteStore['saveSwarm']>): Promise<void> {
      if (this.outdone <= 0) return await super.saveSwarm(...step)
      this.outdone -= 1
      throw new StoreConflictError('another version')
    }
  }

  it('is tried again after growing pauses, and succeeds with the last attempt', async () => {
    const store = new OutdoneStore(':memory:')
    const cache = new SwarmCache(store, Date.now, () => 0.5)
    store.outdone = SAVE_ATTEMPTS_MAX - 1
    const beganMs = performance.now()
    expect(await cache.open(IDENTITY, (state) => takeLease(state, ONE, 'mine'))).toMatchObject({
      lease: 'mine',
    })
    const tookMs = performance.now() - beganMs
    expect(tookMs).toBeGreaterThan(((SAVE_ATTEMPTS_MAX - 7) * SAVE_PAUSE_MS_MAX) / 2)
    expect(tookMs).toBeLessThan(SAVE_ATTEMPTS_MAX * SAVE_PAUSE_MS_MAX)
    await store.close()
  })

  it('is refused as busy after the last attempt; one that changes nothing is not, and the swarm goes on', async () => {
    const store = new OutdoneStore(':memory:')
    const cache = new SwarmCache(store, Date.now, () => 0)
    const { cluster, swarm } = IDENTITY
    store.outdone = SAVE_ATTEMPTS_MAX
    const taken = cache.open(IDENTITY, (state) => takeLease(state, ONE, 'mine'))
    await expect(taken).rejects.toMatchObject({ code: 'SWARM_BUSY' })
    store.outdone = SAVE_ATTEMPTS_MAX
    expect(await cache.step(cluster, swarm, (state) => state.leases.isRunning('mine', 0))).toBe(false)
    store.outdone = 0
    expect(await cache.step(cluster, swarm, (state) => takeLease(state, TWO, 'next'))).toMatchObject({
      firstPiece: 0,
    })
    await store.close()
  })
})

describe('a grant of several swarms', () => {
  it('looks once at all that are in memory, and trusts none that another tracker changed', async () => {
    const looks: string[] = []
    class Shared extends SqliteStore {
      override readonly isShared = true as never
      override async swarmVersion(...of: Parameters<SqliteStore['swarmVersion']>) {
        looks.push('one')
        return await super.swarmVersion(...of)
      }
      override async swarmVersions() {
        looks.push('all')
        const known = swarms.map(
          async (swarm) => [swarm, (await super.swarmVersion(IDENTITY.cluster, swarm))!] as const,
        )
        return new Map(await Promise.all(known))
      }
    }
    const store = new Shared(':memory:')
    const [here, there] = [new SwarmCache(store), new SwarmCache(store)]
    const swarms = ['a', 'b', 'c'].map((digit) => digit.repeat(40) as SwarmId)
    for (const swarm of swarms) await here.open({ ...IDENTITY, swarm }, () => undefined)
    await new Promise((resolve) => setTimeout(resolve, SWARM_TRUSTED_MS + 20))
    const changed = { ...IDENTITY, swarm: swarms[1]! }
    await there.open(changed, (state) => takeLease(state, TWO, 'theirs'))
    looks.length = 0
    await here.lookAt(IDENTITY.cluster, swarms)
    const counts = swarms.map((swarm) =>
      here.open({ ...IDENTITY, swarm }, (state) => state.leases.isRunning('theirs', 0), { mayBeOlder: true }),
    )
    expect(await Promise.all(counts)).toEqual([false, true, false])
    expect(looks).toEqual(['all', 'one'])
    await store.close()
  })
})

describe('a store that is slow', () => {
  it('makes no holder late: for as long as an answer takes, nobody can report more', async () => {
    let nowMs = 0
    class SlowStore extends SqliteStore {
      override async saveSwarm(...step: Parameters<SqliteStore['saveSwarm']>): Promise<void> {
        nowMs += 900
        await super.saveSwarm(...step)
      }
    }
    const store = new SlowStore(':memory:')
    const cache = new SwarmCache(store, () => nowMs)
    const identity = { ...IDENTITY, bytes: 24 * 2 ** 20 }
    const leaseMs = 10_000
    const ask = (node: NodeId, lease: string) =>
      cache.open(identity, (state, nowMs) =>
        state.lease({ lease, node, pull: 'p', position: 0, nowMs, leaseMs, policy: farHalf() }),
      )
    const publish = (node: NodeId, lease: string, firstPiece: number) =>
      cache.step(identity.cluster, identity.swarm, (state, nowMs) => {
        const hashes = hashesOf(96).subarray(firstPiece * 32, (firstPiece + 16) * 32)
        state.publish({ node, pull: 'p', lease, epoch: 0, firstPiece, hashes, nowMs, leaseMs })
        state.requested(lease, node, 96)
      })
    await ask(ONE, 'one')
    expect(await ask(TWO, 'two')).toMatchObject({ firstPiece: 56 })
    await Promise.all([publish(ONE, 'one', 0), publish(TWO, 'two', 56)])
    const asked = ask('3'.repeat(40) as NodeId, 'three')
    await Promise.all([publish(ONE, 'one', 16), publish(TWO, 'two', 72)])
    expect(await asked).toBeUndefined()
    // A holder that is silent beyond that is late.
    nowMs += 4_000
    expect(await ask('4'.repeat(40) as NodeId, 'four')).toMatchObject({ firstPiece: 32 })
    await store.close()
  })
})

describe('the swarms in memory', () => {
  const LARGE_PIECES = 2 ** 18
  const largeAt = (index: number) => ({
    ...IDENTITY,
    swarm: String(index).padStart(40, '0') as SwarmId,
    bytes: LARGE_PIECES * 4 * 2 ** 20,
  })

  it('take no memory for pieces that nobody published', async () => {
    const store = new SqliteStore(':memory:')
    const cache = new SwarmCache(store)
    const before = process.memoryUsage().arrayBuffers
    for (let index = 0; index < 32; index += 1) await cache.open(largeAt(index), (state) => state.epoch)
    expect(cache.piecesCached).toBe(0)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * LARGE_PIECES)
    await store.close()
  })

  it('are no more than their pieces have room, and what was forgotten is read again', async () => {
    const store = new SqliteStore(':memory:')
    const cache = new SwarmCache(store)
    const publishAt = (index: number) =>
      cache.open(largeAt(index), (state) => {
        takeLease(state, ONE, 'lease')
        publishPiece(state, ONE, 'lease', 0)
      })
    for (let index = 0; index < 6; index += 1) {
      await publishAt(index)
      expect(cache.piecesCached).toBeLessThanOrEqual(PIECES_CACHED_MAX)
    }
    expect(cache.piecesCached).toBe(PIECES_CACHED_MAX)
    const { cluster, swarm } = largeAt(0)
    expect(await cache.step(cluster, swarm, (state) => state.isPublished(0))).toBe(true)
    await store.close()
  })

  it('are made again when the store forgot them', async () => {
    const store = new SqliteStore(':memory:')
    const cache = new SwarmCache(store)
    await cache.open(IDENTITY, (state) => state.epoch)
    await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 0, now: 0, pullsPerNodeMax: 1 })
    const { cluster, swarm } = IDENTITY
    await expect(cache.step(cluster, swarm, (state) => state.epoch)).rejects.toMatchObject({
      code: 'SWARM_UNKNOWN',
    })
    expect(await cache.open(IDENTITY, (state) => state.epoch)).toBe(0)
    await store.close()
  })
})

describe('two publishers of one piece who disagree', () => {
  it('are both distrusted: the piece is cleared, the epoch rises, and a third node gets it', async () => {
    const store = new SqliteStore(':memory:')
    const cache = new SwarmCache(store)
    const { cluster, swarm } = IDENTITY
    // The slow tail is leased twice: a second lease over pieces of the first, as a later policy gives them.
    await cache.open(IDENTITY, (state) => takeLease(state, ONE, 'first', LAYER_PIECES))
    const record = {
      lease: 'second',
      node: TWO,
      pull: 'q',
      firstPiece: 0,
      pieces: LAYER_PIECES,
      expiresAtMs: 1000,
    }
    const version = (await store.swarmVersion(cluster, swarm))!
    await store.saveSwarm(swarm, version, {
      ...emptyChange({ epoch: 0, isConfirmed: false }),
      putLeases: [record],
    })
    await cache.step(cluster, swarm, (state) => publishPiece(state, ONE, 'first', 0))
    expect(await cache.step(cluster, swarm, (state) => publishPiece(state, TWO, 'second', 0))).toBe(
      'published',
    )
    const outcome = await cache.step(cluster, swarm, (state) =>
      publishPiece(state, TWO, 'second', 0, 'lying'),
    )
    expect(outcome).toBe('conflict')
    const after = await store.loadSwarm(cluster, swarm)
    expect(after).toMatchObject({ epoch: 1, pieces: [], leases: [] })
    expect(after?.disputes).toMatchObject([{ kind: 'conflict', piece: 0, publisher: ONE, reporter: TWO }])
    const next = (node: NodeId) => cache.step(cluster, swarm, (state) => takeLease(state, node, `of ${node}`))
    expect((await next(ONE))?.firstPiece).toBe(1)
    expect((await next(TWO))?.firstPiece).toBe(2)
    expect((await next('3'.repeat(40) as NodeId))?.firstPiece).toBe(0)
    await store.close()
  })
})
