import { spawnSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { batchKeyFromRaw, isHashBatchSigned } from '../../core/hash-batch.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import { hashBatchSchema } from '../../core/tracker-api.ts'
import { Clusters } from '../../tracker/authority/clusters.ts'
import { openSealer } from '../../tracker/authority/sealer.ts'
import { SqliteStore } from '../../tracker/store/sqlite-store.ts'
import type { Door } from '../core/test-registry.ts'
import {
  type Answer,
  hashesOf,
  LAYER_PIECES,
  openDoor,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
  wireHashes,
} from './test-tracker.ts'

/** Three missed heartbeats of 5 s, and a little: from then on the new key signs. */
const SETTLED_MS = 15_100
/** And three more, in which nodes have renewed what the previous one signed. */
const RENEWED_MS = 30_200
const DAY_MS = 24 * 3600 * 1000
const HONEST = hashesOf(LAYER_PIECES)
const PASSWORD = { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') }
const ROTATION_KILLED = fileURLToPath(new URL('rotation-killed.ts', import.meta.url))

/** What a node without more than password authentication asks; every pull brings a peer token. */
const passwordDoor: Door = (request, response) => {
  if (request.headers.authorization === `Basic ${PASSWORD.value}`) return openDoor(request, response)
  response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end()
}

describe('the key that signs hashes and peer tokens', () => {
  let world: World
  let lab: TestCluster
  let node: TestNode
  let path: string

  beforeEach(async () => {
    world = await startWorld({ door: passwordDoor, registry: { kind: 'introspect' } })
    lab = await world.makeCluster()
    node = await world.joined(lab)
    path = `/admin/v1/clusters/${lab.cluster}/signing-keys`
  })
  afterEach(() => world.close())

  const rotate = (isLeaked = false) => world.admin().post(path, { isLeaked })
  const withdraw = (isForced = false) => world.admin().post(`${path}/withdrawal`, { isForced })
  const trusted = async () => (await node.heartbeat()).body.trust.batchKeys as string[]
  const pull = () => node.pull({ credential: PASSWORD })
  const mintedBy = (peerToken: string) => parseRegistryToken(peerToken).keyId
  const minting = async () => {
    const { trust } = (await node.heartbeat()).body
    return trust.tokenKeys.map(({ jwk }: { jwk: { kid: string } }) => jwk.kid) as string[]
  }

  /** Publishes all hashes of the layer. */
  async function published(): Promise<{ swarm: string; answer: Answer; peerToken: string }> {
    const { body } = await pull()
    const { swarm, lease } = body.swarms[0]
    const all = { pull: body.pull, lease: lease.lease, hashes: wireHashes(HONEST) }
    return { swarm, answer: await node.hashes(swarm, all), peerToken: body.peerToken }
  }
  const signedBy = (json: unknown, key: string) =>
    isHashBatchSigned([batchKeyFromRaw(key)], lab.cluster, hashBatchSchema.parse(json))
  const known = (changes: object = {}) => ({
    epoch: 0,
    runs: [
      {
        firstPiece: 0,
        pieces: LAYER_PIECES,
        sha256: createHash('sha256').update(HONEST).digest('base64url'),
        ...changes,
      },
    ],
  })

  it('is changed in two steps: nodes trust the new one first, then it signs, and at last the old one goes', async () => {
    const [old] = await trusted()
    const [oldMint] = await minting()
    expect((await rotate()).status).toBe(201)
    const [first, next] = await trusted()
    expect(first).toBe(old)
    const { swarm, answer, peerToken } = await published()
    expect(mintedBy(peerToken)).toBe(oldMint)
    expect(signedBy(answer.body.batches[0], old!)).toBe(true)

    world.clockOffsetMs = SETTLED_MS
    expect(await trusted()).toEqual([next, old])
    const { body } = await pull()
    const [newMint] = await minting()
    expect(newMint).not.toBe(oldMint)
    expect(mintedBy(body.peerToken)).toBe(newMint)
    expect(body.swarms[0].swarm).toBe(swarm)
    expect(signedBy(body.swarms[0].batches[0], next!)).toBe(true)

    world.clockOffsetMs = RENEWED_MS
    expect((await withdraw()).status).toBe(200)
    expect(await trusted()).toEqual([next])
    expect(await minting()).toEqual([newMint])
  })

  it('signs again what the previous one signed, for a node that has it, and nothing else', async () => {
    const { swarm } = await published()
    await rotate()
    world.clockOffsetMs = SETTLED_MS
    const [next] = await trusted()
    const holder = await world.joined(lab)
    const ask = (body: object, of = swarm) => holder.post(`/v1/swarms/${of}/batches`, body)
    const { status, body } = await ask(known())
    expect(status).toBe(200)
    expect(signedBy(body.batches[0], next!)).toBe(true)
    expect(body.batches[0].hashes).toBe(wireHashes(HONEST))
    const lie = createHash('sha256').update('a guess').digest('base64url')
    const others = [
      await ask(known({ sha256: lie })),
      await ask({ ...known(), epoch: 1 }),
      await ask(known({ pieces: LAYER_PIECES + 1 })),
      await ask(known({ firstPiece: 10 ** 9 })),
      await ask(known(), '0'.repeat(40)),
    ]
    // Whether there is such a swarm, and what its hashes are, is all the same.
    for (const other of others) expect([other.status, other.body]).toEqual([200, { batches: [] }])
    const none = await ask({ ...known(), runs: [] })
    expect([none.status, none.body.error.code]).toEqual([400, 'INVALID_INPUT'])
  })

  it('has a pull under way renewed with a peer token of the next key, valid at its grant, in its certificate', async () => {
    const { body: granted } = await pull()
    const renew = (asked: object) => node.post(`/v1/pulls/${granted.pull}/renew`, asked)
    await rotate()
    world.clockOffsetMs = SETTLED_MS
    const plain = await renew({})
    expect(plain.body.peerToken).toBeNull()
    const { body } = await renew({ wantsPeerToken: true })
    const [newMint] = await minting()
    const [before, after] = [granted.peerToken, body.peerToken].map(parseRegistryToken)
    expect(after!.keyId).toBe(newMint)
    expect(after!.boundKey).toBe(before!.boundKey)
    expect(after!.expiresAtSeconds).toBe(before!.expiresAtSeconds)
    // The store knows which token it is bound to: so does the next renewal.
    const certificates = [body.certificate, (await renew({})).body.certificate]
    for (const pem of certificates) expect(tokenHashIn(pem)).toBe(after!.hash)
  })

  it('is not withdrawn while the new one does not sign, nor unasked while nodes renew', async () => {
    expect((await withdraw()).body.error.code).toBe('ROTATION_NONE')
    await rotate()
    expect((await rotate()).body.error.code).toBe('ROTATION_UNDER_WAY')
    expect((await withdraw(true)).body.error.code).toBe('ROTATION_TOO_EARLY')
    world.clockOffsetMs = SETTLED_MS
    expect((await withdraw()).body.error.code).toBe('ROTATION_TOO_EARLY')
    expect((await withdraw(true)).status).toBe(200)
  })

  it('after a leak ends as soon as the new one signs, to the second, and is erased with the next start', async () => {
    const [old] = await trusted()
    await rotate(true)
    expect(await trusted()).toHaveLength(2)
    world.clockOffsetMs = SETTLED_MS
    const [next, ...rest] = await trusted()
    expect(rest).toEqual([])
    expect(next).not.toBe(old)
    await world.restart()
    expect(await keysInStore()).toEqual([next])
    expect((await rotate()).status).toBe(201)
  })

  it('goes by itself a day after the new one began to sign', async () => {
    await rotate()
    world.clockOffsetMs = SETTLED_MS + DAY_MS - 60_000
    expect(await keysAfterRestart()).toHaveLength(2)
    world.clockOffsetMs = SETTLED_MS + DAY_MS
    expect(await keysAfterRestart()).toHaveLength(1)
  })

  it('stays as it is when the tracker starts again in the middle', async () => {
    await rotate()
    const both = await trusted()
    await world.restart()
    await node.present(node.identity)
    expect(await trusted()).toEqual(both)
    world.clockOffsetMs = SETTLED_MS
    await world.restart()
    await node.present(node.identity)
    expect(await trusted()).toEqual(both.toReversed())
  })

  it('is changed on record: who, what, when, and no key', async () => {
    await rotate()
    world.clockOffsetMs = RENEWED_MS
    await withdraw()
    const { entries } = (await world.admin().request('GET', '/admin/v1/audit')).body
    const changes = entries.filter(({ action }: { action: string }) => action.startsWith('signing key'))
    expect(changes).toMatchObject([
      { action: 'signing key withdrawn', cluster: lab.cluster, actor: 'operator' },
      { action: 'signing key added', cluster: lab.cluster, target: expect.stringMatching(/^[0-9a-f]{16}$/) },
    ])
    const { body } = await world.admin().request('GET', '/admin/v1/clusters')
    expect(body.clusters[0]).toMatchObject({ signingKeys: [expect.any(String)], keyRotation: null })
    expect(JSON.stringify([body, entries])).not.toContain('PRIVATE')
  })

  it.each([
    ['a new signing key', 'add', 2],
    ['the withdrawal of one', 'withdraw', 1],
    ['a new admin authority in place of all', 'admin', 1],
  ])('killed in the middle of writing %s, the store has all of it or nothing', async (_, step, keysAfter) => {
    const before = await keysInStore()
    await world.tracker.close()
    world.tracker = { ...world.tracker, close: async () => {} }
    if (step === 'withdraw') expect(killed('add', 'after')).toBe('SIGKILL')
    const admins = await adminsInStore()
    expect(killed(step, 'within')).toBe('SIGKILL')
    expect(await adminsInStore()).toEqual(admins)
    expect(await keysInStore()).toHaveLength(step === 'withdraw' ? 2 : 1)
    expect(await keysInStore()).toEqual(expect.arrayContaining(before))
    expect(killed(step, 'after')).toBe('SIGKILL')
    expect(await keysInStore()).toHaveLength(keysAfter)
    const [admin, ...others] = await adminsInStore()
    expect(others).toEqual([])
    expect(admin === admins[0]).toBe(step !== 'admin')
  })

  const storePath = () => join(world.dataDir, 'tracker.sqlite')
  const unlockKey = () => readFileSync(world.config.unlockKeyFile!, 'utf8').trim()

  function killed(step: string, when: string): string | null {
    const args = [ROTATION_KILLED, storePath(), unlockKey(), lab.cluster, step, when]
    return spawnSync(process.execPath, args, { stdio: 'inherit' }).signal
  }

  async function withStore<T>(look: (store: SqliteStore) => Promise<T>): Promise<T> {
    const store = new SqliteStore(storePath())
    try {
      // Every secret opens.
      await Clusters.load(store, await openSealer(store, unlockKey()), { nowMs: Date.now, settleMs: 0 })
      return await look(store)
    } finally {
      await store.close()
    }
  }
  const keysInStore = () =>
    withStore(async (store) => (await store.clusters())[0]!.batchKeys.map(({ publicKey }) => publicKey))
  const adminsInStore = () =>
    withStore(async (store) => (await store.adminAuthorities()).map(({ certificatePem }) => certificatePem))
  async function keysAfterRestart(): Promise<string[]> {
    await world.restart()
    return keysInStore()
  }
})

function tokenHashIn(certificatePem: string): string | undefined {
  const claims = claimsOf(new X509Certificate(certificatePem))
  return claims.kind === 'pull' ? claims.tokenHash : undefined
}
