import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { AuditEntry } from '../../tracker/store/audit.ts'
import { ENDED_JOIN_TOKENS_MAX, type JoinTokenRecord } from '../../tracker/store/join-tokens.ts'
import {
  type ClusterRecord,
  emptyChange,
  type LeaseRecord,
  type PublishedPiece,
  type PullRecord,
  type Store,
  type SwarmChange,
  type SwarmIdentity,
} from '../../tracker/store/store.ts'

const RED = `c${'1'.repeat(16)}` as ClusterId
const BLUE = `c${'2'.repeat(16)}` as ClusterId
const ONE = '1'.repeat(40) as NodeId
const TWO = '2'.repeat(40) as NodeId
const SWARM = 'a'.repeat(40) as SwarmId
const OTHER_SWARM = 'b'.repeat(40) as SwarmId
const REGISTRY = 'registry.example.com' as RegistryHost
const DIGEST = digestFromHex('d'.repeat(64))

const BOUNDS = { presencesMax: 9, acceptancesMax: 9, membershipsMax: 9 }

const IDENTITY: SwarmIdentity = {
  cluster: RED,
  swarm: SWARM,
  registry: REGISTRY,
  digest: DIGEST,
  bytes: 1_000_000,
}

function audit(action: string, atMs = 1): AuditEntry {
  return { atMs, actor: 'test', action, cluster: RED, target: 'target' }
}

function cluster(id: ClusterId): ClusterRecord {
  return {
    cluster: id,
    name: 'a cluster',
    createdAtMs: 5,
    authorities: [{ certificatePem: 'pem', sealedKey: Buffer.from([3]), createdAtMs: 5 }],
    batchKeys: [{ publicKey: 'raw', sealedKey: Buffer.from([4]), createdAtMs: 5, endsAtMs: null }],
  }
}

function joinToken(cluster: ClusterId, changes: Partial<JoinTokenRecord> = {}): JoinTokenRecord {
  return {
    id: `first of ${cluster}`,
    cluster,
    sealedHash: Buffer.from([1, 2]),
    createdAtMs: 5,
    validUntilMs: null,
    usesMax: null,
    uses: 0,
    withdrawnAtMs: null,
    ...changes,
  }
}

function pull(id: string, changes: Partial<PullRecord> = {}): PullRecord {
  return {
    pull: id,
    cluster: RED,
    node: ONE,
    registry: REGISTRY,
    repository: 'team/app' as Repository,
    subject: 'alice',
    tokenHash: 'e'.repeat(64),
    tokenKey: null,
    spki: Buffer.from([9, 9]),
    grantedAtMs: 100,
    expiresAtMs: 200,
    blobs: [{ swarm: SWARM, digest: DIGEST, isComplete: false }],
    ...changes,
  }
}

function change(changes: Partial<SwarmChange>): SwarmChange {
  return { ...emptyChange({ epoch: 0, isConfirmed: false }), ...changes }
}

const pieceAt = (piece: number): PublishedPiece => ({
  piece,
  hash: Buffer.alloc(32, piece),
  node: ONE,
  pull: 'p',
})
const leaseOf = (lease: string, expiresAtMs = 50): LeaseRecord => ({
  lease,
  node: ONE,
  pull: 'p',
  firstPiece: 0,
  pieces: 4,
  expiresAtMs,
})

/** What every store must do. `open` is called for each test with nothing in the store. */
export function storeContract(name: string, open: () => Promise<Store>): void {
  describe(`the store: ${name}`, () => {
    let store: Store
    beforeEach(async () => {
      store = await open()
    })
    afterEach(() => store.close())

    it('keeps tokens of administrators by name; a name is free again when its token ended or was removed', async () => {
      const sealed = Buffer.from([0, 255])
      const token = { name: 'b', role: 'reader' as const, hash: 'h1', createdAtMs: 10, endsAtMs: 20, sealed }
      expect(await store.putAdminToken(token, audit('made'))).toBe(true)
      expect(await store.putAdminToken({ ...token, name: 'a', hash: 'h2' }, audit('made'))).toBe(true)
      expect(await store.putAdminToken({ ...token, hash: 'h3', createdAtMs: 19 }, audit('again'))).toBe(false)
      expect((await store.adminTokens()).map(({ name, hash }) => [name, hash])).toEqual([
        ['a', 'h2'],
        ['b', 'h1'],
      ])
      const others = { createdAtMs: 20, endsAtMs: 30, sealed: null }
      const next = { name: 'b', role: 'admin' as const, hash: 'h4', ...others }
      expect(await store.putAdminToken(next, audit('again'))).toBe(true)
      expect(await store.adminTokens()).toContainEqual(next)
      expect(await store.removeAdminToken('a', audit('removed'))).toBe(true)
      expect(await store.removeAdminToken('a', audit('removed'))).toBe(false)
      const actions = (await store.audit({ limit: 9 })).map(({ action }) => action)
      expect(actions).toEqual(['removed', 'again', 'made', 'made'])
      await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 0, now: 31, pullsPerNodeMax: 9 })
      expect(await store.adminTokens()).toEqual([])
    })

    it('keeps marks of nodes, each by itself, until the node is forgotten', async () => {
      const times = { joinedAtMs: 1, renewedAtMs: 2, wire: 2 }
      await store.putNode({ cluster: RED, node: ONE, address: '10.0.0.1', ...times }, audit('joined'))
      const [one, two] = [
        { cluster: RED, node: ONE },
        { cluster: RED, node: TWO },
      ]
      await store.putLabels(one, { zone: 'a', 'x/y': 'it\u2019s' }, audit('labelled'))
      expect(await store.putDrained(one, true, audit('drained'))).toBe(true)
      expect(await store.putDrained(one, true, audit('drained again'))).toBe(false)
      expect(await store.putDrained(two, false, audit('nothing'))).toBe(false)
      await store.putLabels(one, { rack: '1' }, audit('labelled'))
      expect(await store.nodeMarks()).toContainEqual({ ...one, labels: { rack: '1' }, isDrained: true })
      expect((await store.audit({ limit: 9 })).map(({ action }) => action)).toEqual([
        'labelled',
        'drained',
        'labelled',
        'joined',
      ])
      await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 0, now: 0, pullsPerNodeMax: 9 })
      expect(await store.nodeMarks()).toEqual([{ ...one, labels: { rack: '1' }, isDrained: true }])
      await store.removeNode(RED, ONE, audit('gone'))
      await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 0, now: 0, pullsPerNodeMax: 9 })
      expect(await store.nodeMarks()).toEqual([])
    })

    it('is browsed in parts: swarms, pulls and images, by filters', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.ensureSwarm({ ...IDENTITY, swarm: OTHER_SWARM, digest: digestFromHex('e'.repeat(64)) })
      await store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(0), pieceAt(2)] }))
      const everything = { cluster: null, registry: null, digest: null, after: '', limit: 9 }
      const swarms = async (filter: object) =>
        (await store.swarmLines({ ...everything, ...filter })).map(({ swarm, pieces }) => [swarm, pieces])
      expect(await swarms({})).toEqual([
        [SWARM, 2],
        [OTHER_SWARM, 0],
      ])
      expect(await swarms({ after: SWARM })).toEqual([[OTHER_SWARM, 0]])
      expect(await swarms({ limit: 1, digest: DIGEST, registry: REGISTRY, cluster: RED })).toEqual([
        [SWARM, 2],
      ])
      expect(await swarms({ cluster: BLUE })).toEqual([])

      await store.putPull(pull('p1', { grantedAtMs: 10 }), audit('granted'))
      await store.putPull(pull('p2', { grantedAtMs: 10, node: TWO }), audit('granted'))
      const z = 'Team-b/app' as Repository
      const both = [SWARM, OTHER_SWARM].map((swarm) => ({ swarm, digest: DIGEST, isComplete: false }))
      await store.putPull(pull('p3', { grantedAtMs: 20, repository: z, blobs: both }), audit('granted'))
      await store.completePullBlobs({ cluster: RED, node: ONE, swarm: SWARM }, 30)
      const all = { cluster: null, node: null, registry: null, repository: null, before: null, limit: 9 }
      const pulls = async (filter: object) =>
        (await store.pullLines({ ...all, ...filter })).map((it) => it.pull)
      expect(await pulls({})).toEqual(['p3', 'p2', 'p1'])
      expect(await pulls({ before: { grantedAtMs: 10, pull: 'p2' } })).toEqual(['p1'])
      expect(await pulls({ node: TWO, cluster: RED, registry: REGISTRY, repository: 'team/app' })).toEqual([
        'p2',
      ])
      expect(await store.pullLines({ ...all, limit: 1 })).toMatchObject([
        { pull: 'p3', blobs: 2, completeBlobs: 1, repository: z, grantedAtMs: 20 },
      ])

      const from = { cluster: '', registry: '', repository: '' }
      const open = { cluster: null, registry: null, repository: null, after: from, limit: 9 }
      // In the order of bytes, whatever the database's language is.
      expect(await store.imageLines(open)).toMatchObject([
        { repository: z, pulls: 1, nodes: 1 },
        { repository: 'team/app', pulls: 2, nodes: 2, newestPullAtMs: 10 },
      ])
      const after = { cluster: RED, registry: REGISTRY, repository: z }
      expect(await store.imageLines({ ...open, after })).toMatchObject([{ repository: 'team/app' }])
      expect(await store.imageLines({ ...open, repository: z, cluster: BLUE })).toEqual([])
      const image = { cluster: RED, registry: REGISTRY, repository: z, after: '', limit: 9 }
      expect((await store.imageBlobs(image)).map(({ swarm }) => swarm)).toEqual([SWARM, OTHER_SWARM])
      expect((await store.imageBlobs({ ...image, after: SWARM })).map(({ swarm }) => swarm)).toEqual([
        OTHER_SWARM,
      ])
    })

    it('finds entries of the audit log by who, what, where and to whom', async () => {
      await store.addAudit(audit('one'))
      await store.addAudit({ ...audit('two'), actor: 'token a', cluster: null, target: 'x' })
      await store.addAudit({ ...audit('one'), actor: 'token a' })
      const found = async (filter: object) =>
        (await store.audit({ limit: 9, ...filter })).map(({ actor, action }) => `${actor} ${action}`)
      expect(await found({ actor: 'token a' })).toEqual(['token a one', 'token a two'])
      expect(await found({ action: 'one' })).toEqual(['token a one', 'test one'])
      expect(await found({ cluster: RED, actor: 'token a' })).toEqual(['token a one'])
      expect(await found({ target: 'x' })).toEqual(['token a two'])
      expect(await found({ target: "' OR 1=1 --" })).toEqual([])
    })

    it('keeps one data key, the first', async () => {
      expect(await store.sealedDataKey()).toBeUndefined()
      await store.putSealedDataKey(Buffer.from([7]))
      await expect(store.putSealedDataKey(Buffer.from([8]))).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
      expect(await store.sealedDataKey()).toEqual(Buffer.from([7]))
    })

    it('keeps the admin authorities apart from the clusters, newest first, until one goes or another replaces all', async () => {
      expect(await store.adminAuthorities()).toEqual([])
      const [one, two, three] = [3, 5, 7].map((at) => ({
        certificatePem: `pem ${at}`,
        sealedKey: Buffer.from([at]),
        createdAtMs: at,
      }))
      await store.addAdminAuthority(one!, { replaces: false }, audit('one'))
      await store.addAdminAuthority(two!, { replaces: false }, audit('two'))
      expect(await store.adminAuthorities()).toEqual([two, one])
      await store.removeAdminAuthority('pem 3', audit('gone'))
      expect(await store.adminAuthorities()).toEqual([two])
      await store.addAdminAuthority(three!, { replaces: true }, audit('three'))
      expect(await store.adminAuthorities()).toEqual([three])
      expect(await store.clusters()).toEqual([])
      const actions = (await store.audit({ limit: 4 })).map(({ action }) => action)
      expect(actions).toEqual(['three', 'gone', 'two', 'one'])
    })

    it('keeps clusters with their secrets, each id once', async () => {
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      await store.createCluster(cluster(BLUE), joinToken(BLUE), audit('made'))
      const taken = { ...cluster(RED), name: 'again' }
      const again = store.createCluster(taken, joinToken(RED, { id: 'again' }), audit('made'))
      await expect(again).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
      expect(await store.clusters()).toEqual([cluster(RED), cluster(BLUE)])
      expect(await store.audit({ limit: 10 })).toHaveLength(2)
    })

    it('adds a join token to a cluster, newest first, or replaces those before, and withdraws one', async () => {
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      await store.createCluster(cluster(BLUE), joinToken(BLUE), audit('made'))
      const second = joinToken(RED, { id: 'second', createdAtMs: 6, validUntilMs: 77, usesMax: 3 })
      await store.addJoinToken(second, { replaces: false }, audit('added'))
      expect(await store.joinTokens(RED)).toEqual([second, joinToken(RED)])
      const third = joinToken(RED, { id: 'third', createdAtMs: 7 })
      await store.addJoinToken(third, { replaces: true }, audit('changed', 9))
      const withdrawn = { withdrawnAtMs: 9 }
      expect(await store.joinTokens(RED)).toEqual([
        third,
        { ...second, ...withdrawn },
        joinToken(RED, withdrawn),
      ])
      expect(await store.joinTokens(BLUE)).toEqual([joinToken(BLUE)])
      expect(await store.withdrawJoinToken(BLUE, 'third', audit('withdrawn'))).toBe(false)
      expect(await store.withdrawJoinToken(RED, 'third', audit('withdrawn', 11))).toBe(true)
      expect(await store.withdrawJoinToken(RED, 'third', audit('withdrawn'))).toBe(false)
      expect((await store.joinTokens(RED))[0]?.withdrawnAtMs).toBe(11)
      const actions = (await store.audit({ limit: 3 })).map(({ action }) => action)
      expect(actions).toEqual(['withdrawn', 'changed', 'added'])
    })

    it('counts nodes that are not on record against the join token, each in one step with its record', async () => {
      await store.createCluster(cluster(RED), joinToken(RED, { usesMax: 1 }), audit('made'))
      const id = `first of ${RED}`
      const node = (name: NodeId) => ({
        ...{ cluster: RED, node: name, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs: 1, wire: 1 },
      })
      expect(await store.putNode(node(ONE), audit('joined'), id)).toBe(true)
      expect(await store.putNode(node(ONE), audit('joined again'), id)).toBe(true)
      expect(await store.putNode(node(TWO), audit('joined'), id)).toBe(false)
      expect(await store.hasNode(RED, TWO)).toBe(false)
      expect((await store.joinTokens(RED))[0]?.uses).toBe(1)
      expect((await store.audit({ limit: 1 }))[0]?.action).toBe('joined again')
      const open = joinToken(RED, { id: 'open', createdAtMs: 6 })
      await store.addJoinToken(open, { replaces: false }, audit('added'))
      await store.withdrawJoinToken(RED, 'open', audit('withdrawn'))
      expect(await store.putNode(node(TWO), audit('joined'), 'open')).toBe(false)
    })

    it('forgets ended join tokens when they are many or old, and none that counts', async () => {
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      const add = (changes: Partial<JoinTokenRecord>) =>
        store.addJoinToken(joinToken(RED, changes), { replaces: false }, audit('added', 50))
      await add({ id: 'used up', createdAtMs: 6, usesMax: 2, uses: 2 })
      for (let at = 0; at < ENDED_JOIN_TOKENS_MAX; at += 1) {
        await add({ id: `ended ${at}`, createdAtMs: 10 + at, validUntilMs: 20 })
      }
      const ids = async () => (await store.joinTokens(RED)).map(({ id }) => id)
      expect(await ids()).toHaveLength(ENDED_JOIN_TOKENS_MAX + 1)
      expect(await ids()).not.toContain('used up')
      await add({ id: 'ends later', createdAtMs: 90, validUntilMs: 99 })
      await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 60, now: 60, pullsPerNodeMax: 9 })
      expect(await ids()).toEqual(['ends later', `first of ${RED}`])
    })

    it('adds an authority to a cluster, newest first, and removes one', async () => {
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      const newer = { certificatePem: 'newer', sealedKey: Buffer.from([8]), createdAtMs: 9 }
      await store.addAuthority(RED, newer, { forgetsNodes: false }, audit('added'))
      expect((await store.clusters())[0]?.authorities).toEqual([newer, ...cluster(RED).authorities])
      await store.removeAuthority(RED, 'pem', audit('withdrawn'))
      expect((await store.clusters())[0]?.authorities).toEqual([newer])
      expect((await store.audit({ limit: 2 })).map(({ action }) => action)).toEqual(['withdrawn', 'added'])
    })

    it('adds a batch key to a cluster, newest first, with the end of the one before, and removes one', async () => {
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      await store.createCluster(cluster(BLUE), joinToken(BLUE), audit('made'))
      const newer = { publicKey: 'newer', sealedKey: Buffer.from([8]), createdAtMs: 5, endsAtMs: null }
      await store.addBatchKey(RED, newer, { previousEndsAtMs: 99 }, audit('added'))
      const [older] = cluster(RED).batchKeys
      const [red, blue] = await store.clusters()
      expect(red?.batchKeys).toEqual([newer, { ...older, endsAtMs: 99 }])
      expect(blue).toEqual(cluster(BLUE))
      const newest = { ...newer, publicKey: 'newest', createdAtMs: 6 }
      await store.addBatchKey(RED, newest, { previousEndsAtMs: 111 }, audit('added'))
      expect((await store.clusters())[0]?.batchKeys.map(({ endsAtMs }) => endsAtMs)).toEqual([null, 111, 99])
      await store.removeBatchKey(RED, 'raw', audit('withdrawn'))
      await store.removeBatchKey(RED, 'newer', audit('withdrawn'))
      expect((await store.clusters())[0]?.batchKeys).toEqual([newest])
      expect((await store.audit({ limit: 2 })).map(({ action }) => action)).toEqual([
        'withdrawn',
        'withdrawn',
      ])
    })

    it('replaces the data key with all that it seals, or nothing', async () => {
      await store.putSealedDataKey(Buffer.from([7]))
      const authority = { certificatePem: 'pem', sealedKey: Buffer.from([1]), createdAtMs: 3 }
      await store.addAdminAuthority(authority, { replaces: false }, audit('made'))
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      const key = { registry: REGISTRY, issuer: 'i', audience: 'a', jwk: { kty: 'EC' } }
      const times = { probedAtMs: 5, trustedUntilMs: 9, withdrawnAtMs: null }
      await store.putTokenKey({ id: 'k', key, ...times, sealed: Buffer.from([6]) }, audit('probed'))
      await store.putTokenKey({ id: 'old', key, ...times, sealed: null }, audit('probed'))
      const seen: string[] = []
      const failing = store.replaceDataKey(
        Buffer.from([9]),
        (kind, of, sealed) => {
          seen.push(`${kind} ${of} ${sealed[0]}`)
          if (seen.length === 3) throw new RangeError()
          return Buffer.from([0])
        },
        audit('sealed'),
      )
      await expect(failing).rejects.toThrow(RangeError)
      expect(await store.clusters()).toEqual([cluster(RED)])
      expect(await store.sealedDataKey()).toEqual(Buffer.from([7]))

      seen.length = 0
      const again: Parameters<Store['replaceDataKey']>[1] = (kind, of, sealed) => {
        seen.push(`${kind} ${of} ${sealed[0]}`)
        return Buffer.from([sealed[0]! + 100])
      }
      await store.replaceDataKey(Buffer.from([9]), again, audit('sealed'))
      const all = ['adminAuthority  1', `authority ${RED} 3`, `batchKey ${RED} 4`, `joinToken ${RED} 1`]
      expect(seen.toSorted()).toEqual([...all, 'tokenKey  6'])
      const keys = (await store.tokenKeys()).map(({ id, sealed }) => [id, sealed?.[0]])
      expect(Object.fromEntries(keys)).toEqual({ k: 106, old: undefined })
      expect(await store.sealedDataKey()).toEqual(Buffer.from([9]))
      expect((await store.adminAuthorities())[0]?.sealedKey).toEqual(Buffer.from([101]))
      expect((await store.clusters())[0]?.authorities[0]?.sealedKey).toEqual(Buffer.from([103]))
    })

    it('keeps when a node first joined, and where it was last', async () => {
      const record = { cluster: RED, node: ONE, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs: 1, wire: 1 }
      await store.putNode(record, audit('joined'))
      await store.putNode(
        { ...record, address: '10.0.0.2', joinedAtMs: 9, renewedAtMs: 9, wire: 2 },
        audit('renewed'),
      )
      await store.putNode({ ...record, cluster: BLUE }, audit('joined'))
      expect(await store.nodes(RED)).toEqual([{ ...record, address: '10.0.0.2', renewedAtMs: 9, wire: 2 }])
      expect(await store.nodes()).toHaveLength(2)
    })

    it('renews nodes that are on record, until an authority comes that forgets those of its cluster', async () => {
      const record = { cluster: RED, node: ONE, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs: 1, wire: 1 }
      const renewed = { ...record, address: '10.0.0.2', joinedAtMs: 9, renewedAtMs: 9, wire: 2 }
      expect(await store.renewNode(renewed, audit('renewed'))).toBe(false)
      expect([await store.nodes(), await store.audit({ limit: 10 })]).toEqual([[], []])
      for (const of of [RED, BLUE]) await store.putNode({ ...record, cluster: of }, audit('joined'))
      expect(await store.renewNode(renewed, audit('renewed'))).toBe(true)
      expect(await store.nodes(RED)).toEqual([{ ...renewed, joinedAtMs: 1 }])
      expect([await store.hasNode(RED, ONE), await store.hasNode(RED, TWO)]).toEqual([true, false])
      const [authority] = cluster(RED).authorities
      await store.createCluster(cluster(RED), joinToken(RED), audit('made'))
      await store.addAuthority(RED, authority!, { forgetsNodes: false }, audit('added'))
      expect(await store.nodes(RED)).toHaveLength(1)
      await store.addAuthority(RED, authority!, { forgetsNodes: true }, audit('added'))
      expect((await store.nodes()).map((node) => node.cluster)).toEqual([BLUE])
      expect([await store.hasNode(RED, ONE), await store.hasNode(BLUE, ONE)]).toEqual([false, true])
      expect(await store.renewNode(renewed, audit('renewed'))).toBe(false)
    })

    it('forgets a node that leaves, and says when there was none', async () => {
      const record = { cluster: RED, node: ONE, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs: 1, wire: 1 }
      for (const of of [RED, BLUE]) await store.putNode({ ...record, cluster: of }, audit('joined'))
      expect(await store.removeNode(RED, ONE, audit('left'))).toBe(true)
      expect([await store.hasNode(RED, ONE), await store.hasNode(BLUE, ONE)]).toEqual([false, true])
      expect(await store.removeNode(RED, ONE, audit('left again'))).toBe(false)
      expect((await store.audit({ limit: 1 }))[0]?.action).toBe('left')
    })

    it('finds the newest pull that gave a node a swarm', async () => {
      await store.putPull(pull('old', { grantedAtMs: 100 }), audit('granted'))
      await store.putPull(pull('new', { grantedAtMs: 200 }), audit('granted'))
      await store.putPull(pull('others', { grantedAtMs: 300, node: TWO }), audit('granted'))
      const of = { cluster: RED, node: ONE, swarm: SWARM }
      expect((await store.newestPull(of))?.pull).toBe('new')
      expect(await store.newestPull({ ...of, cluster: BLUE })).toBeUndefined()
    })

    it('keeps pulls and when their certificates end', async () => {
      await store.putPull(pull('p'), audit('granted'))
      expect(await store.pull('p')).toEqual(pull('p'))
      expect(await store.pull('q')).toBeUndefined()
      const renewed = { expiresAtMs: 500, tokenHash: 'f'.repeat(64) }
      await store.extendPull('p', renewed, audit('renewed'))
      expect(await store.pull('p')).toEqual(pull('p', renewed))
      await store.putPull(pull('q', { tokenHash: null, subject: '' }), audit('granted'))
      expect(await store.pull('q')).toMatchObject({ tokenHash: null, subject: '' })
    })

    it('keeps token keys with what became of them, each on record as it changes', async () => {
      const key = (id: string, changes: object = {}) => ({
        id,
        key: { registry: REGISTRY, issuer: 'i', audience: 'a', jwk: { kty: 'EC', x: '1' } },
        ...{ probedAtMs: 5, trustedUntilMs: 9, withdrawnAtMs: null, sealed: Buffer.from([7]) },
        ...changes,
      })
      await store.putTokenKey(key('late', { probedAtMs: 7 }), audit('probed'))
      await store.putTokenKey(key('early'), audit('probed'))
      expect(await store.tokenKeys()).toEqual([key('early'), key('late', { probedAtMs: 7 })])
      await store.putTokenKey(key('early', { withdrawnAtMs: 8, sealed: null }), audit('withdrawn'))
      await store.removeTokenKey('late', audit('expired'))
      expect(await store.tokenKeys()).toEqual([key('early', { withdrawnAtMs: 8, sealed: null })])
      const actions = (await store.audit({ limit: 9 })).map(({ action }) => action)
      expect(actions).toEqual(['expired', 'withdrawn', 'probed', 'probed'])
      await store.putPull(pull('p', { tokenKey: 'thumbprint' }), audit('granted'))
      expect((await store.pull('p'))?.tokenKey).toBe('thumbprint')
    })

    it('keeps every pull of many that come at once, but the one it cannot keep', async () => {
      await store.putPull(pull('p'), audit('granted'))
      const ids = ['q', 'p', 'r']
      const puts = await Promise.allSettled(ids.map((id) => store.putPull(pull(id), audit('granted'))))
      expect(puts.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(await store.pull('q')).toEqual(pull('q'))
      expect(await store.pull('r')).toEqual(pull('r'))
      expect(await store.audit({ limit: 10 })).toHaveLength(3)
    })

    it("marks a blob complete in all of the node's pulls, and in nobody else's", async () => {
      const blobs = [SWARM, OTHER_SWARM].map((swarm) => ({ swarm, digest: DIGEST, isComplete: false }))
      await store.putPull(pull('p', { blobs }), audit('granted'))
      await store.putPull(pull('q'), audit('granted'))
      await store.putPull(pull('r', { node: TWO }), audit('granted'))
      await store.completePullBlobs({ cluster: RED, node: ONE, swarm: SWARM }, 150)
      const states = await Promise.all(['p', 'q', 'r'].map((id) => store.pull(id)))
      expect(states.map((it) => it?.blobs.map((blob) => blob.isComplete))).toEqual([
        [true, false],
        [true],
        [false],
      ])
    })

    it('knows who was granted a swarm since when', async () => {
      await store.putPull(pull('p', { grantedAtMs: 100 }), audit('granted'))
      const blob = { cluster: RED, node: ONE, swarm: SWARM }
      expect(await store.hasPullSince(blob, 100)).toBe(true)
      expect(await store.hasPullSince(blob, 101)).toBe(false)
      expect(await store.hasPullSince({ ...blob, node: TWO }, 0)).toBe(false)
      expect(await store.hasPullSince({ ...blob, cluster: BLUE }, 0)).toBe(false)
      expect(await store.hasPullSince({ ...blob, swarm: OTHER_SWARM }, 0)).toBe(false)
    })

    it('makes a swarm once, empty, for its cluster only', async () => {
      expect(await store.swarmVersion(RED, SWARM)).toBeUndefined()
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(1)] }))
      await store.ensureSwarm(IDENTITY)
      expect(await store.swarmVersion(RED, SWARM)).toBe(1)
      expect(await store.swarmVersion(BLUE, SWARM)).toBeUndefined()
      expect(await store.loadSwarm(BLUE, SWARM)).toBeUndefined()
      expect(await store.loadSwarm(RED, SWARM)).toEqual({
        ...IDENTITY,
        version: 1,
        epoch: 0,
        isConfirmed: false,
        hasPiecesSha1: false,
        pieces: [pieceAt(1)],
        leases: [],
        completions: [],
        disputes: [],
      })
    })

    it('saves a swarm over the version that was read, and nothing of a change that came too late', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(1)] }))
      const late = store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(2)], audit: [audit('late')] }))
      await expect(late).rejects.toMatchObject({ code: 'STORE_CONFLICT' })
      const swarm = await store.loadSwarm(RED, SWARM)
      expect(swarm).toMatchObject({ version: 1, pieces: [pieceAt(1)] })
      expect(await store.audit({ limit: 10 })).toEqual([])
    })

    it('lets exactly one of two concurrent changes through', async () => {
      await store.ensureSwarm(IDENTITY)
      const results = await Promise.allSettled(
        [1, 2].map((piece) => store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(piece)] }))),
      )
      expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      expect((await store.loadSwarm(RED, SWARM))?.pieces).toHaveLength(1)
    })

    it('keeps what comes at the same moment as a change that is too late', async () => {
      await store.ensureSwarm(IDENTITY)
      const results = await Promise.allSettled([
        store.putPull(pull('p'), audit('granted')),
        store.saveSwarm(SWARM, 7, change({ putPieces: [pieceAt(1)] })),
        store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(2)] })),
      ])
      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect((await store.loadSwarm(RED, SWARM))?.pieces).toEqual([pieceAt(2)])
      expect((await store.pull('p'))?.pull).toBe('p')
    })

    it('keeps leases, their newest end, and drops them by id', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ putLeases: [leaseOf('l'), leaseOf('m')] }))
      await store.saveSwarm(SWARM, 1, change({ putLeases: [leaseOf('l', 90)], dropLeases: ['m', 'none'] }))
      expect((await store.loadSwarm(RED, SWARM))?.leases).toEqual([leaseOf('l', 90)])
    })

    it('keeps completions until the epoch rises, and tells of the rise', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ addCompletions: [ONE, ONE, TWO], isConfirmed: true }))
      const before = await store.loadSwarm(RED, SWARM)
      expect(before).toMatchObject({ isConfirmed: true })
      expect(new Set(before?.completions)).toEqual(new Set([ONE, TWO]))
      expect(await store.epochChanges(0)).toEqual([])
      const dispute = {
        kind: 'mismatch' as const,
        epoch: 0,
        piece: 1,
        publisher: ONE,
        publisherPull: 'p',
        publishedHash: Buffer.alloc(32, 1),
        reporter: TWO,
        reportedHash: Buffer.alloc(32, 2),
        atMs: 10,
      }
      const rise = { epoch: 1, dropCompletions: true, dropPieces: [1], addDisputes: [dispute] }
      await store.saveSwarm(SWARM, 1, change(rise))
      expect(await store.loadSwarm(RED, SWARM)).toMatchObject({
        epoch: 1,
        isConfirmed: false,
        completions: [],
        disputes: [dispute],
      })
      const changes = await store.epochChanges(0)
      expect(changes).toMatchObject([{ cluster: RED, swarm: SWARM, epoch: 1 }])
      expect(await store.epochChanges(changes[0]!.sequence)).toEqual([])
    })

    it('drops pieces before it puts others', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(3), pieceAt(1)] }))
      const other = { ...pieceAt(3), hash: Buffer.alloc(32, 99), node: TWO }
      await store.saveSwarm(SWARM, 1, change({ dropPieces: [3], putPieces: [other] }))
      expect((await store.loadSwarm(RED, SWARM))?.pieces).toEqual([pieceAt(1), other])
    })

    it('keeps the first SHA-1 hashes of a swarm, until its epoch rises', async () => {
      await store.ensureSwarm(IDENTITY)
      expect(await store.piecesSha1(SWARM)).toBeUndefined()
      await store.putPiecesSha1(SWARM, ONE, Buffer.alloc(20, 1))
      await store.putPiecesSha1(SWARM, TWO, Buffer.alloc(20, 2))
      expect(await store.piecesSha1(SWARM)).toEqual(Buffer.alloc(20, 1))
      expect(await store.loadSwarm(RED, SWARM)).toMatchObject({ hasPiecesSha1: true })
      await store.saveSwarm(SWARM, 0, change({ epoch: 1, dropCompletions: true }))
      expect(await store.piecesSha1(SWARM)).toBeUndefined()
    })

    it('counts what nodes bring once for each node, and confirms a restored backup once', async () => {
      expect(await store.lastRestore()).toBeUndefined()
      expect(await store.confirmRestore([], audit('confirmed'))).toBe(false)
      const from = (node: NodeId) => ({ cluster: RED, node, atMs: 1 })
      expect(await store.learn(from(ONE), new Map([['a', 'copy a']]))).toEqual(['a'])
      expect(
        await store.learn(
          from(ONE),
          new Map([
            ['a', 'copy a'],
            ['b', 'copy b'],
          ]),
        ),
      ).toEqual([])
      expect(
        await store.learn(
          from(TWO),
          new Map([
            ['b', 'copy b'],
            ['a', 'copy a'],
          ]),
        ),
      ).toEqual(['b'])
      expect(await store.learn({ ...from(ONE), cluster: BLUE }, new Map([['a', 'copy a']]))).toEqual(['a'])
      expect(await store.learned()).toEqual([
        { cluster: RED, id: 'a', copy: 'copy a', nodes: 2 },
        { cluster: RED, id: 'b', copy: 'copy b', nodes: 1 },
        { cluster: BLUE, id: 'a', copy: 'copy a', nodes: 1 },
      ])
      expect(new Set((await store.heardNodes()).map(({ cluster, node }) => cluster + node))).toEqual(
        new Set([RED + ONE, RED + TWO, BLUE + ONE]),
      )
    })

    it('numbers revocations and clearings upwards, and keeps what is in force', async () => {
      expect(await store.revocations()).toEqual({ inForce: [], newestSequence: 0, newestClearing: 0 })
      const node = {
        cluster: RED,
        kind: 'node',
        target: ONE,
        registry: null,
        subject: null,
        tokenHash: null,
        atMs: 1,
        endsAtMs: null,
        isLeft: false,
      } as const
      const ofPull = { ...node, kind: 'pull', target: 'p', registry: REGISTRY, subject: 'alice' } as const
      const first = await store.addRevocation(node, audit('revoked'))
      const second = await store.addRevocation(ofPull, audit('revoked'))
      expect(second).toBeGreaterThan(first)
      const ending = { ...node, tokenHash: 'ab'.repeat(32), endsAtMs: 5, isLeft: true }
      const third = await store.addRevocation(ending, audit('revoked'))
      expect((await store.revocations()).inForce.at(-1)).toEqual({ ...ending, sequence: third })
      expect(await store.clearRevocation(third, audit('cleared'))).toBe(true)
      expect(await store.clearRevocation(first, audit('cleared'))).toBe(true)
      expect(await store.clearRevocation(first, audit('cleared'))).toBe(false)
      expect(await store.clearRevocation(999, audit('cleared'))).toBe(false)
      const { inForce, newestSequence, newestClearing } = await store.revocations()
      expect(inForce).toMatchObject([{ ...ofPull, sequence: second }])
      expect([newestSequence, newestClearing]).toEqual([newestClearing, newestSequence])
      expect(newestClearing).toBeGreaterThan(second)
      expect(await store.audit({ limit: 10 })).toHaveLength(5)
    })

    it('keeps who is paused, once each, and forgets it for nodes that are off the record', async () => {
      const [red, one] = [
        { cluster: RED, node: null, atMs: 1 },
        { cluster: RED, node: ONE, atMs: 2 },
      ]
      await store.putNode(
        { cluster: RED, node: ONE, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs: 5, wire: 1 },
        audit('joined'),
      )
      expect(await store.putPause(one, audit('paused'))).toBe(true)
      expect(await store.putPause(red, audit('paused'))).toBe(true)
      expect(await store.putPause({ ...red, atMs: 3 }, audit('paused'))).toBe(false)
      expect(await store.pauses()).toEqual([red, one])
      expect(await store.removePause({ cluster: BLUE, node: null }, audit('resumed'))).toBe(false)
      const bounds = { pulls: 0, audit: 0, joinTokens: 0, now: 0, pullsPerNodeMax: 10 }
      await store.prune({ ...bounds, nodes: 5 })
      expect(await store.pauses()).toEqual([red, one])
      await store.prune({ ...bounds, nodes: 6 })
      expect(await store.pauses()).toEqual([red])
      expect(await store.removePause(red, audit('resumed'))).toBe(true)
      expect(await store.pauses()).toEqual([])
      expect((await store.audit({ limit: 10 })).map(({ action }) => action)).toEqual([
        'resumed',
        'paused',
        'paused',
        'joined',
      ])
    })

    it('pages through the audit log, newest first', async () => {
      for (const action of ['a', 'b', 'c']) await store.addAudit(audit(action))
      const [newest, next] = await store.audit({ limit: 2 })
      expect([newest?.action, next?.action]).toEqual(['c', 'b'])
      const rest = await store.audit({ limit: 2, beforeSequence: next!.sequence })
      expect(rest.map(({ action }) => action)).toEqual(['a'])
    })

    it('keeps what the tracker remembers, each as it was last, until it ends', async () => {
      const one = {
        wire: 2,
        zone: 'east',
        rack: 'r1',
        ...{ cluster: RED, node: ONE, address: '10.0.0.1', port: 7 },
        holds: [
          { swarm: SWARM, isSeed: true },
          { swarm: OTHER_SWARM, isSeed: false },
        ],
      }
      const [two, blue] = [
        { ...one, node: TWO },
        { ...one, cluster: BLUE },
      ]
      const nothing = { presences: [], gone: [], acceptances: [], memberships: [] }
      const late = { id: 'h1', digest: DIGEST, untilMs: 90, mark: Buffer.from([1]) }
      const early = { id: 'h2', digest: DIGEST, untilMs: 60, mark: null }
      const memberships = [
        { id: 'm1', bytes: null, untilMs: 60, mark: null },
        { id: 'm2', bytes: 5, untilMs: 70, mark: Buffer.from([2]) },
      ]
      const presences = [{ ...one, port: 8 }, two, blue]
      await store.saveMemory({ ...nothing, presences, acceptances: [late, early], memberships })
      await store.saveMemory({ ...nothing, presences: [one], gone: [{ cluster: RED, node: TWO }] })
      await store.saveMemory({ ...nothing, acceptances: [{ ...late, untilMs: 80 }] })
      const kept = await store.memory(59, BOUNDS)
      expect(kept.presences).toHaveLength(2)
      expect(kept.presences).toEqual(expect.arrayContaining([one, blue]))
      expect(kept).toMatchObject({ acceptances: [early, { ...late, untilMs: 80 }], memberships })
      expect(await store.memory(60, BOUNDS)).toMatchObject({
        acceptances: [{ id: 'h1' }],
        memberships: [{ id: 'm2' }],
      })
      const few = { presencesMax: 1, acceptancesMax: 1, membershipsMax: 1 }
      const newest = await store.memory(0, few)
      expect(newest.presences).toHaveLength(1)
      expect([newest.acceptances.length, newest.memberships.length]).toEqual([1, 1])
      // Of too many, those that end last.
      expect(newest).toMatchObject({ acceptances: [{ id: 'h1', untilMs: 80 }], memberships: [{ id: 'm2' }] })
      await store.prune({ pulls: 0, audit: 0, nodes: 0, joinTokens: 0, now: 70, pullsPerNodeMax: 9 })
      expect(await store.memory(0, BOUNDS)).toMatchObject({ acceptances: [{ id: 'h1' }], memberships: [] })
    })

    it('forgets what ended before the given times, and nothing else', async () => {
      await store.ensureSwarm(IDENTITY)
      await store.saveSwarm(SWARM, 0, change({ putPieces: [pieceAt(0)] }))
      await store.putPull(pull('old', { grantedAtMs: 99 }), audit('granted', 10))
      await store.putPull(pull('new', { grantedAtMs: 100 }), audit('granted', 20))
      await store.prune({ pulls: 100, audit: 20, nodes: 0, joinTokens: 0, now: 150, pullsPerNodeMax: 1 })
      expect(await store.pull('old')).toBeUndefined()
      expect(await store.pull('new')).toBeDefined()
      expect(await store.hasPullSince({ cluster: RED, node: ONE, swarm: SWARM }, 0)).toBe(true)
      expect(await store.audit({ limit: 10 })).toMatchObject([{ atMs: 20 }])
      expect((await store.loadSwarm(RED, SWARM))?.pieces).toHaveLength(1)
    })

    it('forgets nodes whose newest certificate is from before the given time', async () => {
      const node = (id: NodeId, renewedAtMs: number) => ({
        ...{ cluster: RED, node: id, address: '10.0.0.1', joinedAtMs: 1, renewedAtMs, wire: 1 },
      })
      await store.putNode(node(ONE, 50), audit('joined'))
      await store.putNode(node(TWO, 50), audit('joined'))
      await store.renewNode(node(TWO, 60), audit('renewed'))
      const prune = () =>
        store.prune({ pulls: 0, audit: 0, nodes: 60, joinTokens: 0, now: 70, pullsPerNodeMax: 9 })
      expect(await prune()).toEqual({ nodes: 1 })
      expect([await store.hasNode(RED, ONE), await store.hasNode(RED, TWO)]).toEqual([false, true])
      expect(await prune()).toEqual({ nodes: 0 })
    })

    it("forgets the oldest of one node's ended pulls when they are many, and no live one", async () => {
      const put = (id: string, grantedAtMs: number, changes: Partial<PullRecord> = {}) =>
        store.putPull(pull(id, { grantedAtMs, expiresAtMs: 200, ...changes }), audit('granted'))
      await put('oldest, live', 101, { expiresAtMs: 400 })
      for (const [index, id] of ['a', 'b', 'c'].entries()) await put(id, 102 + index)
      await put("another node's", 101, { node: TWO })
      await store.prune({ pulls: 100, audit: 0, nodes: 0, joinTokens: 0, now: 300, pullsPerNodeMax: 2 })
      const left = async (id: string) => (await store.pull(id)) !== undefined
      expect(await Promise.all(['oldest, live', 'a', 'b', 'c', "another node's"].map(left))).toEqual([
        ...[true, false, true, true, true],
      ])
    })

    it('forgets swarms that no pull names, unless a hash was ever published', async () => {
      const third = { ...IDENTITY, swarm: 'e'.repeat(40) as SwarmId }
      for (const identity of [IDENTITY, { ...IDENTITY, swarm: OTHER_SWARM }, third])
        await store.ensureSwarm(identity)
      await store.saveSwarm(OTHER_SWARM, 0, change({ putPieces: [pieceAt(0)] }))
      await store.saveSwarm(third.swarm, 0, change({ putLeases: [leaseOf('l', 1000)] }))
      await store.putPull(pull('of the first', { grantedAtMs: 100 }), audit('granted'))
      const prune = (pulls: number) =>
        store.prune({ pulls, audit: 0, nodes: 0, joinTokens: 0, now: 0, pullsPerNodeMax: 9 })
      const left = async (swarm: SwarmId) => (await store.loadSwarm(RED, swarm)) !== undefined
      await prune(100)
      expect(await Promise.all([SWARM, OTHER_SWARM, third.swarm].map(left))).toEqual([true, true, false])
      await prune(101)
      expect(await Promise.all([SWARM, OTHER_SWARM].map(left))).toEqual([false, true])
      await store.ensureSwarm(third)
      expect((await store.loadSwarm(RED, third.swarm))?.leases).toEqual([])
    })
  })
}
