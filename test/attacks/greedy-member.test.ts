import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import { BLOB_BYTES_MAX } from '../../core/metainfo.ts'
import { farHalf } from '../../tracker/handout/leases.ts'
import { UNVERIFIED_BYTES_MAX } from '../../tracker/pull/membership.ts'
import type { Door } from '../core/test-registry.ts'
import {
  hashesOf,
  LAYER,
  LAYER_PIECES,
  newKey,
  openDoor,
  publicKeyOf,
  startWorld,
  type TestNode,
  type World,
  type WorldOptions,
  wireHashes,
} from '../tracker/test-tracker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A member of the cluster, with a token for a repository, who tells no lie about a piece and wants more than its share. */
const PATIENCE_MS = 60_000
const NONE = { credential: { scheme: 'none' } }
const MIB = 2 ** 20

let world: World
afterEach(() => world?.close())

async function start(options: WorldOptions) {
  world = await startWorld({ registry: { kind: 'none' }, door: openDoor, ...options })
  const cluster = await world.makeCluster()
  return { cluster, node: await world.joined(cluster), honest: await world.joined(cluster) }
}

/** A registry with an object store behind it: it has every blob, and says of none how long it is. */
const redirecting: Door = (_, response) => {
  response.writeHead(307, { location: 'https://store.example/blob' }).end()
}

function madeUpBlobs(bytes: number) {
  return Array.from({ length: 128 }, () => {
    const digest = digestFromHex(createHash('sha256').update(randomBytes(8)).digest('hex'))
    return { digest, bytes, isWanted: false }
  })
}

const storedBytes = () =>
  readdirSync(world.dataDir)
    .filter((name) => name.startsWith('tracker.sqlite'))
    .reduce((sum, name) => sum + statSync(join(world.dataDir, name)).size, 0)

attackTest(
  'blobs of made-up length are refused, or take no memory',
  async () => {
    const { node, honest } = await start({ door: redirecting })
    const pull = (bytes: number) => node.pull({ ...NONE, blobs: madeUpBlobs(bytes) })
    const { status, body } = await pull(BLOB_BYTES_MAX)
    expect([status, body.error.code]).toEqual([409, 'BLOB_SIZE_UNPROVEN'])
    const before = process.memoryUsage().arrayBuffers
    for (let at = 0; at < 4; at += 1) expect((await pull(UNVERIFIED_BYTES_MAX)).status).toBe(200)
    // 16,384 pieces of 32 bytes for each of 512 blobs would be 256 MiB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MIB)
    expect((await honest.pull({ ...NONE, blobs: [{ ...LAYER, isWanted: true }] })).status).toBe(200)
  },
  PATIENCE_MS,
)

attackTest(
  'pulls without end do not fill the disk: they are refused, and others are served',
  async () => {
    const { node, honest } = await start({ door: redirecting, tracker: { pullsBurstMax: 16 } })
    const blobs = madeUpBlobs(1)
    const pulls = () =>
      Promise.all(Array.from({ length: 32 }, async () => (await node.pull({ ...NONE, blobs })).status))
    const before = storedBytes()
    const statuses: number[] = []
    for (let at = 0; at < 8; at += 1) statuses.push(...(await pulls()))
    expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(18)
    expect(new Set(statuses)).toEqual(new Set([200, 429]))
    // All 256 of them would be 15 MiB, without the log of the database, which takes up to 4.
    expect(storedBytes() - before).toBeLessThan(8 * MIB)
    expect((await honest.pull({ ...NONE, blobs: [{ ...LAYER, isWanted: true }] })).status).toBe(200)
  },
  PATIENCE_MS,
)

/** What a stock client is told, with a real pull certificate. @returns the torrent, or the code why there is none */
async function torrentFor(owner: TestNode, swarm: string): Promise<string> {
  const key = newKey()
  const { body } = await owner.pull({ ...NONE, publicKey: publicKeyOf(key) })
  const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
  await owner.present({ cert: body.certificate, key: pem })
  const answer = await owner.request('GET', `/v1/swarms/${swarm}/torrent`)
  await owner.present(owner.identity)
  return answer.status === 200 ? answer.body : answer.body.error.code
}

attackTest(
  'SHA-1 hashes of one node are given to no stock client: unasked, before the swarm has hashes, or again and again',
  async () => {
    const { cluster, node: liar, honest } = await start({})
    const lie = Buffer.alloc(LAYER_PIECES * 20, 'LIE!')
    const { pull, swarms } = (await liar.pull(NONE)).body
    const { swarm, lease } = swarms[0]
    const tell = () => liar.complete(swarm, { piecesSha1: lie.toString('base64url') })
    const expectPending = async () => {
      const told = await torrentFor(honest, swarm)
      loot.bytes += told.includes('LIE!') ? lie.length : 0
      expect(told).toBe('TORRENT_PENDING')
    }
    expect((await tell()).body).toMatchObject({ status: 'cold', wantsSha1: false })
    await expectPending()
    const hashes = wireHashes(hashesOf(LAYER_PIECES))
    await liar.hashes(swarm, { pull, lease: lease.lease, hashes })
    await tell()
    for (let at = 0; at < 3; at += 1) await tell()
    await expectPending()
    await honest.pull(NONE)
    await honest.complete(swarm)
    expect((await liar.complete(swarm)).body.status).toBe('confirmed')
    for (let at = 0; at < 3; at += 1) await tell()
    await expectPending()
    // Two others agree, whatever it said.
    const right = Buffer.alloc(lie.length, 'true')
    for (const node of [honest, await world.joined(cluster), await world.joined(cluster)]) {
      await node.pull(NONE)
      const { wantsSha1 } = (await node.complete(swarm)).body
      if (wantsSha1) await node.complete(swarm, { piecesSha1: right.toString('base64url') })
    }
    const torrent = await torrentFor(honest, swarm)
    loot.bytes += torrent.includes('LIE!') ? lie.length : 0
    expect(torrent).toContain('true'.repeat(LAYER_PIECES * 5))
  },
  PATIENCE_MS,
)

attackTest(
  'who takes leases and says again what is known keeps few of them, and those no longer than their time',
  async () => {
    const large = { digest: LAYER.digest, bytes: 80 * 256 * 1024, isWanted: true }
    const { node, honest } = await start({ door: redirecting, leasePolicy: farHalf() })
    const { pull, swarms } = (await node.pull({ ...NONE, blobs: [large] })).body
    const { swarm } = swarms[0]
    const hashes = wireHashes(hashesOf(1))
    const say = (lease: string, changes = {}) => node.hashes(swarm, { pull, lease, hashes, ...changes })
    const leases = [swarms[0].lease]
    await say(leases[0].lease)
    for (;;) {
      const { lease } = (await say(leases[0].lease, { wantsLease: true })).body
      if (lease === null) break
      leases.push(lease)
    }
    expect(leases.length).toBe(4)
    const { body } = await honest.pull({ ...NONE, blobs: [large] })
    expect(body.swarms[0].lease).not.toBeNull()
    for (const seconds of [3, 6, 9]) {
      world.clockOffsetMs = seconds * 1000
      for (const { lease } of leases) expect((await say(lease)).status).toBe(200)
    }
    // The lease's time is over since the first word; what it covered is another's.
    world.clockOffsetMs = 11_000
    const held = new Set<number>()
    for (;;) {
      const ask = { pull: body.pull, wantsLease: true }
      const { lease } = (await honest.hashes(swarm, ask)).body
      if (lease === null) break
      for (let at = 0; at < lease.pieces; at += 1) held.add(lease.firstPiece + at)
    }
    expect(held.has(leases[0].firstPiece + 1)).toBe(true)
  },
  PATIENCE_MS,
)
