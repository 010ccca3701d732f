import { X509Certificate } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { claimsOf } from '../../core/certificate-claims.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import { STRANGER_MS } from '../../core/strangers.ts'
import { makeSigner, pullClaims, type Signer } from '../core/signed-tokens.ts'
import type { Door } from '../core/test-registry.ts'
import {
  type Answer,
  APP,
  LAYER,
  openDoor,
  SECRET,
  startWorld,
  type TestNode,
  type World,
} from './test-tracker.ts'

let world: World
afterEach(() => world?.close())

async function begin(door?: Door, registry: object = {}): Promise<TestNode> {
  world = await startWorld({ ...(door && { door }), registry })
  return world.joined(await world.makeCluster())
}

/** Serves `APP` to whoever `isLetIn` says, and to nobody else; 401, or what `refusal` says, to others. */
function doorFor(isLetIn: (authorization: string | undefined) => boolean, refusal = 401): Door {
  return (request, response) => {
    if (isLetIn(request.headers.authorization)) return openDoor(request, response)
    response.writeHead(refusal).end()
  }
}

const bearer = (token: string) => ({ credential: { scheme: 'bearer', token } })
const NONE = { credential: { scheme: 'none' } }
const PASSWORD = { credential: { scheme: 'basic', value: Buffer.from('alice:right').toString('base64') } }

/** Peers see a token of the tracker's, bound to the key of this very pull and to its repository. */
function expectMinted({ status, body }: Answer): void {
  expect([status, body.error]).toEqual([200, undefined])
  const token = parseRegistryToken(body.peerToken)
  expect(token.access).toEqual([{ type: 'repository', name: APP, actions: ['pull'] }])
  expect(claimsOf(new X509Certificate(body.certificate))).toMatchObject({ tokenHash: token.hash })
}

const codeOf = ({ status, body }: Answer) => [status, body.error?.code]

describe('without a configured kind', () => {
  it('one registry takes signed tokens and passwords alike', async () => {
    const node = await begin()
    const honest = world.registry.door
    world.registry.door = (request, response) =>
      request.headers.authorization === `Basic ${PASSWORD.credential.value}`
        ? openDoor(request, response)
        : honest(request, response)
    const signed = await node.pull()
    expect([signed.status, signed.body.peerToken]).toEqual([200, null])
    expectMinted(await node.pull(PASSWORD))
    const { body } = await node.heartbeat({ registriesVersion: 'another' })
    expect(body.registries.list).toEqual([{ host: world.registry.host, kinds: ['introspect', 'token'] }])
  })

  it.each([
    ['names its key by `kid` only', (signer: Signer) => signer.sign(pullClaims(APP), { kid: 'ABCD:EFGH' })],
    ['has no access entries', (signer: Signer) => embedding(signer, { access: [] })],
    ['says not when it ends', (signer: Signer) => embedding(signer, { exp: undefined })],
    ['is signed with a secret that only the registry knows', () => hs256()],
  ])('a token that %s counts because the registry accepts it', async (_, make) => {
    const token = make(makeSigner('ES256'))
    const node = await begin(doorFor((authorization) => authorization === `Bearer ${token}`))
    expectMinted(await node.pull(bearer(token)))
    // Its signature was tried with a change, which the registry refused.
    const [head, payload] = token.split('.')
    const tried = world.registry.requests.map(({ authorization }) => authorization)
    expect(tried.some((it) => it?.startsWith(`Bearer ${head}.${payload}.`) && it !== `Bearer ${token}`)).toBe(
      true,
    )
  })

  it('a token counts where the registry answers 403 to a bad one, which proves no key', async () => {
    const signer = makeSigner('ES256')
    const token = embedding(signer)
    const door: Door = (request, response) => {
      const { authorization } = request.headers
      if (authorization === `Bearer ${token}`) return openDoor(request, response)
      response.writeHead(authorization === undefined ? 401 : 403).end()
    }
    const node = await begin(door)
    expectMinted(await node.pull(bearer(token)))
  })

  it('a token is refused where the registry looks at no signature', async () => {
    const signer = makeSigner('ES256')
    const node = await begin(doorFor((authorization) => authorization !== undefined))
    expect(codeOf(await node.pull(bearer(embedding(signer))))).toEqual([401, 'TOKEN_KEY_UNTRUSTED'])
  })

  it('a key that was withdrawn gives no way round: the registry is not asked', async () => {
    const node = await begin()
    await node.pull()
    const { body } = await world.admin().request('GET', '/admin/v1/token-keys')
    await world.admin().post(`/admin/v1/token-keys/${body.tokenKeys[0].id}/withdrawal`, {})
    const asked = world.registry.requests.length
    expect(codeOf(await node.pull())).toEqual([401, 'TOKEN_KEY_UNTRUSTED'])
    expect(world.registry.requests).toHaveLength(asked)
  })
})

describe('where the token keys are configured, nothing else counts', () => {
  it.each([
    ['a password', PASSWORD, 'CREDENTIAL_UNSUPPORTED'],
    ['an opaque token', bearer('opaque'), 'TOKEN_MALFORMED'],
    ['no credential', NONE, 'CREDENTIAL_REQUIRED'],
  ])('%s is refused, although the registry lets it in', async (_, credential, code) => {
    const node = await begin(openDoor)
    const keys = JSON.stringify({ keys: [world.signer.publicJwk] })
    const pinned = { ...world.registry.config, tokenKeysFile: world.registry.writeFile('keys.json', keys) }
    await world.restart({ registries: [pinned] })
    await node.close()
    expect((await node.pull(credential)).body.error.code).toBe(code)
    expect(world.registry.requests).toEqual([])
  })
})

describe('a repository that is open to strangers', () => {
  it.each([
    ['without a credential', NONE],
    ['with a password that the registry ignores', PASSWORD],
    ['with a token that the registry ignores', bearer('opaque')],
  ])('is granted %s', async (_, credential) => {
    const node = await begin(openDoor)
    expectMinted(await node.pull(credential))
    const { body } = await node.heartbeat({ registriesVersion: '' })
    expect(body.registries.list[0].kinds).toEqual(['open'])
  })

  it('is none where the registry redirects strangers, also if it knows no made-up blob', async () => {
    const node = await begin((request, response) => {
      if (!request.url!.endsWith(LAYER.digest)) return void response.writeHead(404).end()
      // To somebody who may ask for a credential.
      response.writeHead(307, { location: 'https://origin.example/blob' }).end()
    })
    expect(codeOf(await node.pull(NONE))).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })

  it('opens nothing else of its own: a blob that strangers are refused is refused beside one that they get', async () => {
    const node = await begin((request, response) => {
      const isSecret = request.url!.endsWith(SECRET.digest)
      if (isSecret && request.headers.authorization === undefined) return void response.writeHead(401).end()
      if (isSecret) return void response.writeHead(200, { 'content-length': SECRET.bytes }).end()
      openDoor(request, response)
    })
    const blobs = [LAYER, SECRET].map((blob) => ({ ...blob, isWanted: true }))
    const { body } = await node.pull({ ...NONE, blobs })
    expect(body.refused).toEqual([{ digest: SECRET.digest, code: 'CREDENTIAL_REQUIRED' }])
  })

  it.each([
    ['asks for a credential', 401, {}],
    ['sends everybody to a login page', 302, { location: '/login' }],
    ['answers 200 and a page to everything', 200, { 'content-length': LAYER.bytes }],
    ['answers 200 without a length to everything', 200, {}],
  ])('is none where the registry %s', async (_, status, headers) => {
    const node = await begin((_request, response) => void response.writeHead(status, headers).end())
    expect(codeOf(await node.pull(NONE))).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })

  it('costs the registry a few requests, and none for who comes within the minute', async () => {
    const node = await begin(openDoor)
    await node.pull()
    const asked = world.registry.requests.length
    expect(asked).toBeLessThanOrEqual(8)
    const other = await world.joined(await world.makeCluster('other'))
    expectMinted(await other.pull())
    expect(world.registry.requests).toHaveLength(asked)
  })

  it('opens no other one: each pull is for its own repository and its own blobs', async () => {
    const node = await begin(openDoor)
    await node.pull(NONE)
    const { body } = await node.pull({ ...NONE, blobs: [{ ...SECRET, isWanted: true }] })
    expect(body.error.code).toBe('CREDENTIAL_REQUIRED')
  })

  it('is asked about again after a minute, so that it can be closed', async () => {
    const node = await begin(openDoor)
    expectMinted(await node.pull(NONE))
    world.registry.door = doorFor(() => false)
    world.clockOffsetMs = STRANGER_MS + 1
    expect(codeOf(await node.pull(NONE))).toEqual([401, 'CREDENTIAL_REQUIRED'])
  })

  it('is no refusal for others that somebody named a blob which is not there', async () => {
    const node = await begin(openDoor)
    await node.pull({ ...NONE, blobs: [{ ...SECRET, isWanted: true }] })
    expectMinted(await node.pull(NONE))
  })
})

describe('the list of registries', () => {
  const settings = { issuer: 'token server', audience: 'registry' }

  it('comes with the join, without what needs consent of the node', async () => {
    await begin(undefined, { ...settings, permitPrivateRedirects: true })
    const { body } = await world.newNode().join((await world.makeCluster('more')).joinToken)
    expect(body.registries.list).toEqual([{ host: world.registry.host, kinds: [], ...settings }])
  })

  it('comes with a heartbeat once it changed, and only to nodes that know one', async () => {
    const node = await begin()
    const { version } = (await node.heartbeat({ registriesVersion: '' })).body.registries
    expect((await node.heartbeat({ registriesVersion: version })).body).not.toHaveProperty('registries')
    await node.pull()
    const { body } = await node.heartbeat({ registriesVersion: version })
    expect(body.registries.list[0].kinds).toEqual(['token'])
    expect((await node.heartbeat()).body).not.toHaveProperty('registries')
    const shown = await world.admin().request('GET', '/admin/v1/registries')
    expect(shown.body).toEqual({ registries: body.registries.list })
  })
})

function embedding(signer: Signer, changes: Record<string, unknown> = {}): string {
  return signer.sign(pullClaims(APP, changes), { jwk: { ...signer.publicJwk } as Record<string, unknown> })
}

function hs256(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ typ: 'JWT', alg: 'HS256' })}.${part(pullClaims(APP))}.${Buffer.alloc(32, 7).toString('base64url')}`
}
