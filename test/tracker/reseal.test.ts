import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { AdminAuthorities } from '../../tracker/admin/admin-authority.ts'
import { Clusters } from '../../tracker/authority/clusters.ts'
import { openSealer, reseal as sealAnew } from '../../tracker/authority/sealer.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import { newClusterSecrets, newUnlockKey, startWorld, type World } from './test-tracker.ts'

const RESEAL_KILLED = fileURLToPath(new URL('reseal-killed.ts', import.meta.url))

describe('sealing a tracker’s secrets anew', () => {
  let world: World
  let unlockKey: string
  const next = newUnlockKey()

  beforeEach(async () => {
    world = await startWorld()
    unlockKey = readFileSync(world.config.unlockKeyFile!, 'utf8').trim()
  })
  afterEach(() => world.close())

  const storePath = () => join(world.dataDir, 'tracker.sqlite')
  const reseal = (keys: object) => world.admin().post('/admin/v1/reseal', keys)
  const restartWith = (key: string) => {
    writeFileSync(world.config.unlockKeyFile!, key)
    return world.restart()
  }
  async function stop(): Promise<void> {
    await world.tracker.close()
    world.tracker = { ...world.tracker, close: async () => {} }
  }

  it('takes another unlock key from the next start on, and everything goes on under it', async () => {
    const lab = await world.makeCluster()
    const node = await world.joined(lab)
    const { status, body } = await reseal({ unlockKey, newUnlockKey: next })
    // Of the cluster three, and the admin authority.
    expect([status, body]).toEqual([200, { sealed: 4 }])
    const later = await world.makeCluster('later')
    expect((await node.heartbeat()).status).toBe(200)

    await expect(restartWith(unlockKey)).rejects.toMatchObject({ code: 'UNLOCK_KEY' })
    await restartWith(next)
    await node.present(node.identity)
    expect((await node.heartbeat()).status).toBe(200)
    for (const cluster of [lab, later]) {
      expect((await world.newNode().join(cluster.joinToken)).status).toBe(200)
    }
  })

  it('makes a new data key without another unlock key, and leaves nothing of the old one in the folder', async () => {
    await world.makeCluster()
    await stop()
    const before = await sealedValues()
    await world.restart()
    expect((await reseal({ unlockKey })).status).toBe(200)
    const names = readdirSync(world.dataDir).filter((name) => name !== ADMIN_SOCKET)
    const files = names.map((name) => readFileSync(join(world.dataDir, name)))
    expect(before).toHaveLength(5)
    for (const value of before) expect(files.some((file) => file.includes(value))).toBe(false)
    await restartWith(unlockKey)
  })

  it.each([
    ['another key', () => ({ unlockKey: next, newUnlockKey: next }), 403, 'UNLOCK_KEY'],
    ['a malformed new key', () => ({ unlockKey, newUnlockKey: 'sesame' }), 403, 'UNLOCK_KEY'],
    ['no key', () => ({}), 400, 'INVALID_INPUT'],
  ])('changes nothing with %s', async (_, keys, status, code) => {
    const answer = await reseal(keys())
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
    await restartWith(unlockKey)
  })

  it('loses no cluster that is being made meanwhile, in a store that takes its time', async () => {
    class SlowStore extends SqliteStore {
      override async createCluster(...made: Parameters<SqliteStore['createCluster']>): Promise<void> {
        await setTimeout(50)
        return super.createCluster(...made)
      }
    }
    await stop()
    const store = new SlowStore(storePath())
    const sealer = await openSealer(store, unlockKey)
    const clusters = await Clusters.load(store, sealer, { nowMs: Date.now, settleMs: 0 })
    const by = { actor: 'test', nowMs: 0 }
    const { cluster, joinTokenHash: hash } = newClusterSecrets()
    const creating = clusters.create({ cluster, name: 'lab', joinToken: { hash } }, by)
    await setTimeout(25)
    await Promise.all([creating, sealAnew(store, sealer, { unlockKey }, by)])
    await store.close()
    expect(await clustersUnder(unlockKey)).toBe(1)
  })

  it('is on record, without a key in record, answer or log', async () => {
    const { body } = await reseal({ unlockKey, newUnlockKey: next })
    const audit = (await world.admin().request('GET', '/admin/v1/audit?limit=1')).body
    const expected = { action: 'secrets sealed anew', target: 'data key and unlock key' }
    expect(audit.entries).toMatchObject([{ ...expected, actor: 'operator' }])
    expect(JSON.stringify([body, audit]) + world.logged()).not.toMatch(/SHOALKEY-1-/)
  })

  it('loses nothing when the tracker is killed in the middle: one key opens all, the old one or the new', async () => {
    for (const name of ['one', 'two', 'three']) await world.makeCluster(name)
    await stop()
    // Three clusters with three secrets each, and the admin authority.
    for (const killAt of [1, 6, 10]) {
      expect(killedAt(killAt)).toBe('SIGKILL')
      expect(await clustersUnder(unlockKey)).toBe(3)
      await expect(clustersUnder(next)).rejects.toMatchObject({ code: 'UNLOCK_KEY' })
    }
    expect(killedAt(11)).toBe('SIGKILL')
    expect(await clustersUnder(next)).toBe(3)
    await expect(clustersUnder(unlockKey)).rejects.toMatchObject({ code: 'UNLOCK_KEY' })
  })

  function killedAt(value: number): string | null {
    const args = [RESEAL_KILLED, storePath(), String(value), unlockKey, next]
    return spawnSync(process.execPath, args, { stdio: 'inherit' }).signal
  }

  /** Opens every secret of the store. */
  async function clustersUnder(key: string): Promise<number> {
    const store = new SqliteStore(storePath())
    try {
      const sealer = await openSealer(store, key)
      await AdminAuthorities.load(store, sealer, 0)
      return (await Clusters.load(store, sealer, { nowMs: Date.now, settleMs: 0 })).list().length
    } finally {
      await store.close()
    }
  }

  async function sealedValues(): Promise<Buffer[]> {
    const store = new SqliteStore(storePath())
    const clusters = await store.clusters()
    const [admin] = await store.adminAuthorities()
    const values = [await store.sealedDataKey(), admin?.sealedKey]
    const tokens = await Promise.all(clusters.map(({ cluster }) => store.joinTokens(cluster)))
    await store.close()
    const ofClusters = [
      ...clusters.flatMap(({ authorities, batchKeys }) =>
        [...authorities, ...batchKeys].map(({ sealedKey }) => sealedKey),
      ),
      ...tokens.flat().map(({ sealedHash }) => sealedHash),
    ]
    return [...values, ...ofClusters].filter((value) => value !== undefined)
  }
})
