import { createHash, createPrivateKey, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { isSignedBy, parseRegistryToken } from '../../core/registry-token.ts'
import { pullResponse } from '../../core/tracker-api.ts'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { OPAQUE_ACCEPTANCE_MS } from '../../tracker/pull/acceptances.ts'
import { UNVERIFIED_BYTES_MAX } from '../../tracker/pull/membership.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { alwaysStatus, type Door } from '../core/test-registry.ts'
import {
  APP,
  hashesOf,
  LAYER,
  LAYER_PIECES,
  newKey,
  OTHER,
  openDoor,
  publicKeyOf,
  SECRET,
  SMALL,
  sha256,
  startWorld,
  type TestCluster,
  type TestNode,
  type World,
  wireHashes,
} from './test-tracker.ts'

const wanted = (blob: object) => ({ ...blob, isWanted: true })

describe('a pull', () => {
  let world: World
  let lab: TestCluster
  let node: TestNode

  beforeAll(async () => {
    world = await startWorld()
    lab = await world.makeCluster()
    node = await world.joined(lab)
  })
  afterAll(() => world.close())

  const bearer = (token: string) => ({ credential: { scheme: 'bearer', token } })

  it('is granted to the holder of a token: a certificate for its key, with what it may have', async () => {
    const key = newKey()
    const token = world.token()
    const { status, body } = await node.pull({
      publicKey: publicKeyOf(key),
      blobs: [wanted(LAYER), { ...SMALL, isWanted: false }],
      ...bearer(token),
    })
    expect(status).toBe(200)
    const answer = pullResponse.parse(body)
    const certificate = new X509Certificate(answer.certificate)
    expect(certificate.checkPrivateKey(createPrivateKey(key.export({ type: 'pkcs8', format: 'pem' })))).toBe(
      true,
    )
    expect(certificate.verify(new X509Certificate(answer.trust.authorities[0]!).publicKey)).toBe(true)
    expect(claimsOf(certificate)).toEqual({
      kind: 'pull',
      cluster: lab.cluster,
      node: node.node,
      pullId: answer.pull,
      registry: world.registry.host,
      repository: APP,
      grantedAtSeconds: expect.closeTo(Date.now() / 1000, -1),
      tokenHash: sha256(token.slice(0, token.lastIndexOf('.'))),
      blobs: [LAYER.digest, SMALL.digest],
    })
    expect(certificate.validFromDate.getTime()).toBeLessThanOrEqual(Date.now() - 299_000)
    expect(certificate.validToDate.getTime()).toBeCloseTo(Date.now() + 1_800_000, -4)
    expect(answer.trust.tokenKeys).toHaveLength(1)
    expect(answer.refused).toEqual([])
  })

  it('names the swarm of each blob, with a lease for the wanted one only', async () => {
    const fresh = await world.makeCluster('leases')
    const first = await world.joined(fresh)
    const { body } = await first.pull({ blobs: [{ ...SMALL, isWanted: false }, wanted(LAYER)] })
    const { cluster } = fresh
    const id = (blob: typeof LAYER) => swarmIdOf({ cluster, registry: world.registry.host, ...blob })
    expect(body.swarms).toMatchObject([
      { digest: SMALL.digest, swarm: id(SMALL), status: 'cold', epoch: 0, batches: [], lease: null },
      { digest: LAYER.digest, swarm: id(LAYER), lease: { firstPiece: 0, pieces: LAYER_PIECES } },
    ])
  })

  it.each([
    ['no credential', { credential: { scheme: 'none' } }, 401, 'CREDENTIAL_REQUIRED'],
    ['a wrong password', { credential: { scheme: 'basic', value: 'YTpi' } }, 403, 'REGISTRY_REFUSED'],
    ['a token that is none', bearer('open-sesame'), 403, 'REGISTRY_REFUSED'],
    ['a token that no header can carry', bearer('open sesame'), 400, 'INVALID_INPUT'],
    ['a registry that is not configured', { registry: 'other.example' }, 404, 'REGISTRY_UNKNOWN'],
    ['a key of another kind', { publicKey: 'AAAA' }, 400, 'INVALID_INPUT'],
    ['no blobs', { blobs: [] }, 400, 'INVALID_INPUT'],
    ['a repository name with a path trick', { repository: '../../etc' }, 400, 'INVALID_INPUT'],
    [
      'one digest with two sizes',
      { blobs: [wanted(LAYER), wanted({ ...LAYER, bytes: 5 })] },
      400,
      'INVALID_INPUT',
    ],
    ['a blob that the repository does not have', { blobs: [wanted(SECRET)] }, 404, 'BLOB_NOT_IN_REPOSITORY'],
    ['a wrong size', { blobs: [wanted({ ...LAYER, bytes: 999_999 })] }, 409, 'BLOB_SIZE_MISMATCH'],
  ])('is refused with %s', async (_, changes, status, code) => {
    const answer = await node.pull(changes)
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  const seconds = () => Math.floor(Date.now() / 1000)
  it.each([
    ['expired', () => world.token({ exp: seconds() - 120 }), 401, 'TOKEN_EXPIRED'],
    ['not valid yet', () => world.token({ nbf: seconds() + 120 }), 401, 'TOKEN_EXPIRED'],
    ['for pushing only', () => world.token({ access: access(APP, ['push']) }), 403, 'TOKEN_SCOPE'],
    ['for another repository', () => world.token({ access: access(OTHER, ['pull']) }), 403, 'TOKEN_SCOPE'],
    ['signed by a key of its own', () => world.token({}, makeSigner('ES256')), 401, 'TOKEN_KEY_UNTRUSTED'],
    ['altered after signing', () => altered(world.token()), 401, 'TOKEN_SIGNATURE'],
    ['unsigned', () => unsigned(), 401, 'TOKEN_ALGORITHM'],
  ])('is refused with a token that is %s', async (_, token, status, code) => {
    await node.pull()
    const answer = await node.pull(bearer(token()))
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  it('grants the blobs that are in the repository and names the others', async () => {
    const { status, body } = await node.pull({ blobs: [wanted(LAYER), wanted(SECRET)] })
    expect(status).toBe(200)
    expect(body.swarms).toHaveLength(1)
    expect(body.refused).toEqual([{ digest: SECRET.digest, code: 'BLOB_NOT_IN_REPOSITORY' }])
    expect(claimsOf(new X509Certificate(body.certificate))).toMatchObject({ blobs: [LAYER.digest] })
  })

  it('asks the registry once about a token, and once an hour whether a blob is in the repository', async () => {
    const heads = () => world.registry.requests.filter(({ line }) => line.includes(SMALL.digest)).length
    const exp = seconds() + 3 * 3600
    const [one, other] = [world.token({ exp }), world.token({ exp })]
    const asked = async (token: string) => {
      const before = heads()
      expect((await node.pull({ blobs: [wanted(SMALL)], ...bearer(token) })).status).toBe(200)
      return heads() - before
    }
    const first = await asked(one)
    expect(first).toBeGreaterThanOrEqual(1)
    expect([await asked(one), await asked(other), await asked(other)]).toEqual([0, 1, 0])
    world.clockOffsetMs = 3601_000
    expect([await asked(one), await asked(one)]).toEqual([1, 0])
    world.clockOffsetMs = 0
  })

  it('is renewed for the same key, grant time and blobs while a blob is missing', async () => {
    const key = newKey()
    const { body: granted } = await node.pull({ publicKey: publicKeyOf(key) })
    world.clockOffsetMs = 1000_000
    const { status, body } = await node.post(`/v1/pulls/${granted.pull}/renew`, {})
    world.clockOffsetMs = 0
    expect(status).toBe(200)
    const before = new X509Certificate(granted.certificate)
    const after = new X509Certificate(body.certificate)
    expect(after.checkPrivateKey(createPrivateKey(key.export({ type: 'pkcs8', format: 'pem' })))).toBe(true)
    expect(claimsOf(after)).toEqual(claimsOf(before))
    expect(after.validToDate.getTime() - before.validToDate.getTime()).toBeCloseTo(1000_000, -4)
  })

  it('is renewed for at most six hours after the grant', async () => {
    const { body: granted } = await node.pull()
    world.clockOffsetMs = (6 * 3600 - 600) * 1000
    const { body } = await node.post(`/v1/pulls/${granted.pull}/renew`, {})
    world.clockOffsetMs = (6 * 3600 - 30) * 1000
    const late = await node.post(`/v1/pulls/${granted.pull}/renew`, {})
    world.clockOffsetMs = 0
    expect(body.validForSeconds).toBeGreaterThan(590)
    expect(body.validForSeconds).toBeLessThanOrEqual(600)
    expect([late.status, late.body.error.code]).toEqual([403, 'PULL_ENDED'])
  })

  it('is not renewed once the node has all of its blobs', async () => {
    const fresh = await world.joined(lab)
    const { body: granted } = await fresh.pull()
    await fresh.complete(granted.swarms[0].swarm, { matched: 'pieces' })
    const { status, body } = await fresh.post(`/v1/pulls/${granted.pull}/renew`, {})
    expect([status, body.error.code]).toEqual([409, 'PULL_COMPLETE'])
    const again = await fresh.pull()
    expect((await fresh.post(`/v1/pulls/${again.body.pull}/renew`, {})).status).toBe(200)
  })

  it('of another node cannot be renewed', async () => {
    const { body: granted } = await node.pull()
    const other = await world.joined(lab)
    const { status, body } = await other.post(`/v1/pulls/${granted.pull}/renew`, {})
    expect([status, body.error.code]).toEqual([404, 'PULL_UNKNOWN'])
  })

  it('tells peers of its own cluster only, at the address that they connected from', async () => {
    const [red, blue] = [await world.makeCluster('red'), await world.makeCluster('blue')]
    const [one, two, three] = [await world.joined(red), await world.joined(red), await world.joined(blue)]
    await one.pull({ listenPort: 5001 })
    const { body } = await two.pull({ listenPort: 5002 })
    expect(body.swarms[0].peers).toEqual([
      { node: one.node, address: '127.0.0.1', port: 5001, isSeed: false },
    ])
    expect((await three.pull()).body.swarms[0].peers).toEqual([])
  })

  it('never writes the token anywhere', async () => {
    const token = world.token({ jti: 'to-be-searched-for' })
    const { body } = await node.pull(bearer(token))
    const signature = token.slice(token.lastIndexOf('.') + 1)
    const written = readdirSync(world.dataDir)
      .filter((file) => file !== ADMIN_SOCKET)
      .map((file) => readFileSync(`${world.dataDir}/${file}`, 'latin1'))
    for (const text of [...written, world.logged(), JSON.stringify(body)]) {
      expect(text.includes(signature)).toBe(false)
      expect(text.includes(token.split('.')[1]!)).toBe(false)
    }
  })
})

describe('a pull whose wanted blob is warm', () => {
  it('brings the signed hashes along', async () => {
    const world = await startWorld()
    const lab = await world.makeCluster()
    const [one, two] = [await world.joined(lab), await world.joined(lab)]
    const { body: granted } = await one.pull()
    const { swarm, lease } = granted.swarms[0]
    const hashes = hashesOf(LAYER_PIECES)
    await one.hashes(swarm, { pull: granted.pull, lease: lease.lease, hashes: wireHashes(hashes) })
    const { body } = await two.pull()
    await world.close()
    expect(body.swarms[0]).toMatchObject({ status: 'claimed', lease: null })
    expect(body.swarms[0].batches).toMatchObject([
      { firstPiece: 0, hashes: wireHashes(hashes), status: 'claimed' },
    ])
  })
})

describe('a pull from a registry without authentication', () => {
  const NONE = { credential: { scheme: 'none' } }
  const login: Door = (_, response) => void response.writeHead(302, { location: '/login' }).end()

  it.each([
    ['without a credential', NONE],
    ['with one that the registry does not ask for', {}],
  ])('is granted %s, with a peer token for its key', async (_, changes) => {
    const world = await startWorld({ door: openDoor, registry: { kind: 'none' } })
    const node = await world.joined(await world.makeCluster())
    const { status, body } = await node.pull(changes)
    await world.close()
    expect(status).toBe(200)
    const { hash } = parseRegistryToken(body.peerToken)
    expect(claimsOf(new X509Certificate(body.certificate))).toMatchObject({ tokenHash: hash })
  })

  it('is judged like any other once the registry asked for a credential, also after a restart', async () => {
    const world = await startWorld({ door: login, registry: { kind: 'none' } })
    const node = await world.joined(await world.makeCluster())
    const trusted = await node.pull(NONE)
    world.registry.door = alwaysStatus(401)
    const refused = await node.pull()
    await world.restart()
    await node.close()
    world.registry.door = login
    const { status, body } = await node.pull(NONE)
    await world.close()
    expect([trusted.status, refused.status]).toEqual([200, 401])
    expect([status, body.error.code]).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })

  it('goes on after somebody sent a credential while the registry could not be asked', async () => {
    const world = await startWorld({ door: alwaysStatus(503), registry: { kind: 'none' } })
    const node = await world.joined(await world.makeCluster())
    const refused = await node.pull()
    world.registry.door = openDoor
    const { status } = await node.pull(NONE)
    await world.close()
    expect([refused.body.error.code, status]).toEqual(['REGISTRY_UNREACHABLE', 200])
  })
})

describe('a pull from a registry whose credentials need introspection', () => {
  const RIGHT = { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') }
  const OPAQUE = { scheme: 'bearer', token: 'opaque-0123456789' }
  const accepted = new Set([`Basic ${RIGHT.value}`, `Bearer ${OPAQUE.token}`])
  const door: Door = (request, response) => {
    if (accepted.has(request.headers.authorization ?? '')) return openDoor(request, response)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end()
  }

  it.each([
    ['password', RIGHT, 2],
    ['opaque token', OPAQUE, 3],
  ])('is granted with the right %s, and a peer token for its key', async (_, credential, heads) => {
    const world = await startWorld({ door })
    const node = await world.joined(await world.makeCluster())
    const { status, body } = await node.pull({ credential })
    const asked = world.registry.requests.length
    await node.pull({ credential })
    const askedAtOnce = world.registry.requests.length - asked
    const askedBefore = world.registry.requests.length
    world.clockOffsetMs = OPAQUE_ACCEPTANCE_MS + 1000
    await node.pull({ credential })
    const askedAgain = world.registry.requests.length - askedBefore
    await world.close()
    expect(status).toBe(200)
    const certificate = new X509Certificate(body.certificate)
    const token = parseRegistryToken(body.peerToken)
    const [jwk] = body.trust.peerTokenKeys
    expect(claimsOf(certificate)).toMatchObject({ tokenHash: token.hash })
    expect(token.boundKey).toBe(
      createHash('sha256')
        .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
        .digest('hex'),
    )
    expect(isSignedBy(token, jwk)).toBe(true)
    expect(token).toMatchObject({ keyId: jwk.kid, audience: [world.registry.host] })
    // What is remembered for longer is that the blob is in the repository, not that this caller may have it.
    expect([askedAtOnce, askedAgain]).toEqual([0, heads])
  })

  it('learns from a redirect to a login page neither who may pull nor what is where', async () => {
    const login: Door = (_, response) => void response.writeHead(302, { location: '/login' }).end()
    const world = await startWorld({ door: login })
    const node = await world.joined(await world.makeCluster())
    const blobs = [wanted(SECRET), wanted(LAYER)]
    const refused = await node.pull({ credential: OPAQUE, blobs })
    world.registry.door = door
    const { body } = await node.pull({ credential: OPAQUE, blobs })
    await world.close()
    expect(refused.body.error.code).toBe('CREDENTIAL_UNPROVEN')
    expect(body.refused).toEqual([{ digest: SECRET.digest, code: 'BLOB_NOT_IN_REPOSITORY' }])
  })

  it.each([
    ['a wrong password', { scheme: 'basic', value: 'YTpi' }, 403, 'REGISTRY_REFUSED'],
    ['a wrong token', { scheme: 'bearer', token: 'opaque-x' }, 403, 'REGISTRY_REFUSED'],
    ['no credential', { scheme: 'none' }, 401, 'CREDENTIAL_REQUIRED'],
  ])('is refused with %s', async (_, credential, status, code) => {
    const world = await startWorld({ door })
    const node = await world.joined(await world.makeCluster())
    await node.pull({ credential: RIGHT })
    const answer = await node.pull({ credential })
    await world.close()
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })

  it('is refused where the registry takes every token and refuses strangers', async () => {
    const lax: Door = (request, response) =>
      request.headers.authorization === undefined ? door(request, response) : openDoor(request, response)
    const world = await startWorld({ door: lax })
    const node = await world.joined(await world.makeCluster())
    const { status, body } = await node.pull({ credential: OPAQUE })
    await world.close()
    expect([status, body.error.code]).toEqual([403, 'CREDENTIAL_UNPROVEN'])
  })
})

describe('a pull with a configured issuer and audience', () => {
  it('is refused with a token of another issuer or for another audience', async () => {
    const world = await startWorld({ registry: { issuer: 'token server', audience: 'registry' } })
    const node = await world.joined(await world.makeCluster())
    const pullWith = (changes: object) =>
      node.pull({ credential: { scheme: 'bearer', token: world.token({ ...changes }) } })
    const codes = [
      await pullWith({ iss: 'mallory' }),
      await pullWith({ aud: 'elsewhere' }),
      await pullWith({}),
    ]
    await world.close()
    expect(codes.map(({ body }) => body.error?.code)).toEqual(['TOKEN_ISSUER', 'TOKEN_AUDIENCE', undefined])
  })
})

describe('a pull from a registry that redirects, and tells no length', () => {
  it('is granted at the length that the caller says, up to a bound', async () => {
    const redirecting: Door = (_, response) =>
      void response.writeHead(307, { location: 'https://store.example/blob' }).end()
    const world = await startWorld({ door: redirecting, registry: { kind: 'none' } })
    const node = await world.joined(await world.makeCluster())
    const pull = async (bytes: number) => {
      const blobs = [wanted({ digest: LAYER.digest, bytes })]
      const { status, body } = await node.pull({ credential: { scheme: 'none' }, blobs })
      return [status, body.error?.code]
    }
    const answers = [await pull(UNVERIFIED_BYTES_MAX), await pull(UNVERIFIED_BYTES_MAX + 1)]
    await world.close()
    expect(answers).toEqual([
      [200, undefined],
      [409, 'BLOB_SIZE_UNPROVEN'],
    ])
  })
})

describe('a pull while the registry is in trouble', () => {
  it.each([
    ['fails', 500, 503, 'REGISTRY_UNREACHABLE'],
    ['forbids', 403, 403, 'REGISTRY_REFUSED'],
  ])('is refused when it %s', async (_, registryStatus, status, code) => {
    const world = await startWorld({ door: alwaysStatus(registryStatus), registry: { kind: 'none' } })
    const node = await world.joined(await world.makeCluster())
    const answer = await node.pull({ credential: { scheme: 'none' } })
    await world.close()
    expect([answer.status, answer.body.error.code]).toEqual([status, code])
  })
})

function access(name: string, actions: string[]) {
  return [{ type: 'repository', name, actions }]
}

function altered(token: string): string {
  const dot = token.lastIndexOf('.')
  const signature = Buffer.from(token.slice(dot + 1), 'base64url')
  signature[5]! ^= 1
  return `${token.slice(0, dot)}.${signature.toString('base64url')}`
}

function unsigned(): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none', typ: 'JWT' })}.${part(pullClaims(APP))}.AAAA`
}
