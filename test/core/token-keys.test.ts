import { afterEach, describe, expect, it } from 'vitest'
import { issueLeaf, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { canonicalKey, libtrustKeyId } from '../../core/token-algorithms.ts'
import { TOKEN_KEYS_MAX, TokenKeys, type TokenKeysOptions, tokenKeyOf } from '../../core/token-keys.ts'
import { makeSigner, pullClaims, type Signer } from './signed-tokens.ts'
import { type Door, honestDoor, REPOSITORY, startTestRegistry, type TestRegistry } from './test-registry.ts'

const server = makeSigner('ES256')
const stranger = makeSigner('ES256')
const open: TestRegistry[] = []

afterEach(async () => {
  await Promise.all(open.splice(0).map((registry) => registry.close()))
})

async function start(door: Door = honestDoor(server), changes: Partial<RegistryConfig> = {}) {
  const registry = await startTestRegistry(door, changes)
  open.push(registry)
  return registry
}

const keysOf = (registry: TestRegistry, options: Partial<TokenKeysOptions> = {}) =>
  new TokenKeys({ registries: registry.clients, ...options })

/** A token with its key embedded, as docker-registry's token servers write them. */
const embedding = (signer: Signer, changes: Record<string, unknown> = {}) =>
  signer.sign(pullClaims(REPOSITORY, changes), { jwk: signer.publicJwk })

const parsed = (jwt: string) => parseRegistryToken(jwt)

/** What a tracker that trusts the key of this token tells its nodes, as it travels. */
const toldOf = (registry: TestRegistry, jwt: string, signer: Signer = server) =>
  JSON.parse(JSON.stringify(tokenKeyOf(registry.host, parsed(jwt), canonicalKey(signer.publicJwk)!)))

describe('a key that a token embeds', () => {
  it('is trusted by nobody for that', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    expect(keys.keyFor(registry.host, parsed(embedding(server)))).toBeUndefined()
    expect(keys.all()).toEqual([])
    expect(registry.requests).toHaveLength(0)
  })

  it('is one to ask the registry about, from x5c as well', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    const x5c = [(await certificateOf(server)).replace(/-----[^-]+-----|\s/g, '')]
    for (const jwt of [embedding(server), server.sign(pullClaims(REPOSITORY), { x5c })]) {
      expect(keys.candidateFor(registry.host, parsed(jwt))).toEqual(canonicalKey(server.publicJwk))
    }
  })

  it.each([
    ['a token without any key', () => server.sign(pullClaims(REPOSITORY)), {}],
    ['a key id that is not configured', () => server.sign(pullClaims(REPOSITORY), { kid: 'unknown' }), {}],
    ['another issuer than configured', () => embedding(server, { iss: 'x' }), { issuer: 'token server' }],
    ['another audience than configured', () => embedding(server, { aud: 'x' }), { audience: 'registry' }],
  ])('is none to ask about with %s', async (_, makeToken, changes) => {
    const registry = await start(honestDoor(server), changes)
    expect(keysOf(registry).candidateFor(registry.host, parsed(makeToken()))).toBeUndefined()
  })
})

async function certificateOf(signer: Signer): Promise<string> {
  const authority = await makeAuthority({ commonName: 'token authority', validForSeconds: 60 })
  const leaf = await issueLeaf(authority, {
    commonName: 'token server',
    validForSeconds: 60,
    names: [{ type: 'dns', value: 'token.example' }],
    usages: ['serverAuth'],
    spki: spkiOf(signer.publicKey),
  })
  return leaf.certificatePem
}

describe('configured keys', () => {
  const pinned = { issuer: 'token server', audience: 'registry' }
  const jwks = JSON.stringify({
    keys: [{ ...server.publicJwk, kid: 'key-1' }, makeSigner('RS256').publicJwk],
  })

  async function startWith(text: string, changes: Partial<RegistryConfig>) {
    const registry = await start()
    const tokenKeysFile = registry.writeFile('keys', text)
    const keys = keysOf(registry, { configs: [{ ...registry.config, ...changes, tokenKeysFile }] })
    return { registry, keys }
  }

  it('are trusted for their issuer and audience', async () => {
    const { registry, keys } = await startWith(jwks, pinned)
    for (const jwt of [server.sign(pullClaims(REPOSITORY), { kid: 'key-1' }), embedding(server)]) {
      const jwk = canonicalKey(server.publicJwk)
      expect(keys.find(registry.host, parsed(jwt))).toEqual({ jwk, isConfigured: true })
    }
    const other = server.sign(pullClaims(REPOSITORY, { aud: 'another' }), { kid: 'key-1' })
    expect(keys.keyFor(registry.host, parsed(other))).toBeUndefined()
    expect(keys.all()).toContainEqual(expect.objectContaining({ ...pinned, registry: registry.host }))
  })

  it('without issuer and audience name a key only: the registry decides whether it takes these tokens', async () => {
    const { registry, keys } = await startWith(jwks, {})
    const jwt = server.sign(pullClaims(REPOSITORY), { kid: 'key-1' })
    expect(keys.keyFor(registry.host, parsed(jwt))).toBeUndefined()
    expect(keys.candidateFor(registry.host, parsed(jwt))).toEqual(canonicalKey(server.publicJwk))
    keys.adopt([toldOf(registry, jwt)])
    expect(keys.find(registry.host, parsed(jwt))).toMatchObject({ isConfigured: false })
    const elsewhere = server.sign(pullClaims(REPOSITORY, { aud: 'another' }), { kid: 'key-1' })
    expect(keys.keyFor(registry.host, parsed(elsewhere))).toBeUndefined()
  })

  it('may be the PEM bundle of the registry, with the key id that Distribution computes', async () => {
    const { registry, keys } = await startWith(await certificateOf(server), pinned)
    const kid = libtrustKeyId(server.publicKey)
    expect(kid).toMatch(/^(?:[A-Z2-7]{4}:){11}[A-Z2-7]{4}$/)
    expect(keys.keyFor(registry.host, parsed(server.sign(pullClaims(REPOSITORY), { kid })))).toBeDefined()
  })

  it.each([
    ['with issuer and audience', pinned],
    ['without', {}],
  ])('%s are the only ones: none that a token embeds, nor that somebody vouches for', async (_, changes) => {
    const { registry, keys } = await startWith(jwks, changes)
    const x5c = [(await certificateOf(stranger)).replace(/-----[^-]+-----|\s/g, '')]
    const foreign = [embedding(stranger), stranger.sign(pullClaims(REPOSITORY), { x5c })]
    keys.adopt(foreign.map((jwt) => toldOf(registry, jwt, stranger)))
    for (const jwt of foreign) {
      expect(keys.candidateFor(registry.host, parsed(jwt))).toBeUndefined()
      expect(keys.keyFor(registry.host, parsed(jwt))).toBeUndefined()
    }
    expect(keys.all().map(({ jwk }) => jwk.x)).not.toContain(stranger.publicJwk.x)
  })

  it.each(['', 'neither', '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AA"}]}'])(
    'in a file that holds %j stop the program',
    async (text) => {
      const code = expect.stringMatching(/^(?:REGISTRY_FILE|AUTHORITY_BUNDLE)$/)
      await expect(startWith(text, pinned)).rejects.toMatchObject({ code, hint: expect.any(String) })
    },
  )

  it('in a file that is not there stop the program', async () => {
    const registry = await start()
    const configs = [{ ...registry.config, tokenKeysFile: '/nowhere/keys.json' }]
    expect(() => keysOf(registry, { configs })).toThrowError(
      expect.objectContaining({ code: 'REGISTRY_FILE' }),
    )
  })
})

describe('keys that the tracker vouches for', () => {
  it('are trusted until it vouches for others, never by their signature alone', async () => {
    const registry = await start()
    const node = keysOf(registry)
    const token = parsed(embedding(server))
    node.adopt([toldOf(registry, embedding(server))])
    expect(node.find(registry.host, token)).toEqual({
      jwk: canonicalKey(server.publicJwk),
      isConfigured: false,
    })
    node.adopt([])
    expect(node.keyFor(registry.host, token)).toBeUndefined()
  })

  it('count for their issuer and their whole set of audiences', async () => {
    const registry = await start()
    const node = keysOf(registry)
    node.adopt([toldOf(registry, embedding(server, { aud: ['other', 'registry'] }))])
    const isTrusted = (changes: object) =>
      node.keyFor(registry.host, parsed(embedding(server, { ...changes }))) !== undefined
    expect(isTrusted({ aud: ['registry', 'other'] })).toBe(true)
    for (const aud of ['other', 'registry', '["other","registry"]', ['registry', 'x']])
      expect(isTrusted({ aud })).toBe(false)
    expect(isTrusted({ aud: ['registry', 'other'], iss: 'another issuer' })).toBe(false)
  })

  it('do not count for another registry', async () => {
    const [registry, other] = [await start(), await start()]
    const node = new TokenKeys({ registries: new Map([...registry.clients, ...other.clients]) })
    node.adopt([toldOf(registry, embedding(server))])
    expect(node.keyFor(other.host, parsed(embedding(server)))).toBeUndefined()
    expect(node.keyFor('elsewhere.example' as RegistryHost, parsed(embedding(server)))).toBeUndefined()
  })

  it('are found by their key id when the token embeds none', async () => {
    const registry = await start()
    const node = keysOf(registry)
    const key = { registry: registry.host, issuer: 'token server', audience: 'registry' }
    node.adopt([{ ...key, jwk: { ...server.publicJwk, kid: 'key-1' } }])
    const claims = pullClaims(REPOSITORY)
    expect(
      node.keyFor(registry.host, parseRegistryToken(server.sign(claims, { kid: 'key-1' }))),
    ).toBeDefined()
    expect(
      node.keyFor(registry.host, parseRegistryToken(server.sign(claims, { kid: 'key-2' }))),
    ).toBeUndefined()
    expect(node.keyFor(registry.host, parseRegistryToken(server.sign(claims)))).toBeDefined()
  })

  it('count only for configured registries, well-formed, and in bounded number', async () => {
    const registry = await start()
    const node = keysOf(registry)
    const key = { issuer: 'token server', audience: 'registry' }
    const foreign = { ...key, registry: 'elsewhere.example' as RegistryHost, jwk: { ...server.publicJwk } }
    const broken = { ...key, registry: registry.host, jwk: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } }
    node.adopt([foreign, broken])
    expect(node.keyFor(foreign.registry, parseRegistryToken(embedding(server)))).toBeUndefined()
    const good = { ...key, registry: registry.host, jwk: { ...server.publicJwk } }
    node.adopt([...Array(TOKEN_KEYS_MAX).fill(foreign), good])
    expect(node.keyFor(registry.host, parseRegistryToken(embedding(server)))).toBeUndefined()
  })
})
