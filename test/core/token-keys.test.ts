import { afterEach, describe, expect, it } from 'vitest'
import type { Digest } from '../../core/digest.ts'
import { digestFromHex } from '../../core/digest.ts'
import { issueLeaf, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { canonicalKey, libtrustKeyId } from '../../core/token-algorithms.ts'
import {
  KEY_TRUST_MS,
  REFUSAL_MS,
  TOKEN_KEYS_MAX,
  TokenKeys,
  type TokenKeysOptions,
} from '../../core/token-keys.ts'
import { makeSigner, pullClaims, type Signer, signingInputOf } from './signed-tokens.ts'
import {
  alwaysStatus,
  BLOB,
  type Door,
  honestDoor,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from './test-registry.ts'

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

function establish(keys: TokenKeys, registry: TestRegistry, jwt: string, digest: Digest = BLOB) {
  const token = parseRegistryToken(jwt)
  return keys.establish({ registry: registry.host, token, jwt, repository: REPOSITORY, digest })
}

describe('a key that a token embeds', () => {
  it('is trusted once the registry accepted the token and refused it with one bit flipped', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    const jwt = embedding(server)
    expect(keys.keyFor(registry.host, parseRegistryToken(jwt))).toBeUndefined()
    expect(await establish(keys, registry, jwt)).toEqual(canonicalKey(server.publicJwk))
    expect(registry.requests.map(({ line }) => line)).toEqual(
      Array(2).fill(`HEAD /v2/${REPOSITORY}/blobs/${BLOB}`),
    )
    const shown = registry.requests.map(({ authorization }) => authorization!.slice('Bearer '.length))
    expect(shown[0]).toBe(jwt)
    expect(shown[1]).not.toBe(jwt)
    expect(signingInputOf(shown[1]!)).toBe(signingInputOf(jwt))
    // From now on without the registry, for other tokens of the key too, and for those who only see a signing input.
    expect(await establish(keys, registry, embedding(server, { sub: 'bob' }))).toEqual(
      canonicalKey(server.publicJwk),
    )
    expect(keys.keyFor(registry.host, parseRegistryToken(jwt))).toEqual(canonicalKey(server.publicJwk))
    expect(registry.requests).toHaveLength(2)
  })

  it('is read from x5c as well', async () => {
    const registry = await start()
    const authority = await makeAuthority({ commonName: 'token authority', validForSeconds: 60 })
    const leaf = await issueLeaf(authority, {
      commonName: 'token server',
      validForSeconds: 60,
      names: [{ type: 'dns', value: 'token.example' }],
      usages: ['serverAuth'],
      spki: spkiOf(server.publicKey),
    })
    const x5c = [leaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
    const jwt = server.sign(pullClaims(REPOSITORY), { x5c })
    expect(await establish(keysOf(registry), registry, jwt)).toEqual(canonicalKey(server.publicJwk))
  })

  it('is not trusted when the registry refuses the token: a stranger with a key of their own', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    expect(await establish(keys, registry, embedding(stranger))).toBeUndefined()
    expect(keys.keyFor(registry.host, parseRegistryToken(embedding(stranger)))).toBeUndefined()
    expect(keys.all()).toEqual([])
    expect(registry.requests).toHaveLength(1)
  })

  it('is not trusted by a registry that accepts everything', async () => {
    const registry = await start(alwaysStatus(200, { 'content-length': 10 }))
    const keys = keysOf(registry)
    expect(await establish(keys, registry, embedding(server))).toBeUndefined()
    expect(await establish(keys, registry, embedding(stranger))).toBeUndefined()
    expect(keys.all()).toEqual([])
  })

  it.each([401, 403, 404, 429, 500])(
    'is not trusted by a registry that answers everything with %i',
    async (status) => {
      const registry = await start(alwaysStatus(status))
      const keys = keysOf(registry)
      expect(await establish(keys, registry, embedding(server))).toBeUndefined()
      expect(keys.all()).toEqual([])
    },
  )

  it.each([403, 404, 429, 500])(
    'is not trusted when the flipped token is answered with %i',
    async (status) => {
      let requests = 0
      const registry = await start((_, response) => {
        response.writeHead(requests++ === 0 ? 200 : status).end()
      })
      expect(await establish(keysOf(registry), registry, embedding(server))).toBeUndefined()
      expect(requests).toBe(2)
    },
  )

  it('is trusted when the registry answers the token with a redirect', async () => {
    let requests = 0
    const registry = await start((_, response) => {
      const status = requests++ === 0 ? 307 : 401
      response.writeHead(status, { location: 'https://storage.example/blob' }).end()
    })
    expect(await establish(keysOf(registry), registry, embedding(server))).toBeDefined()
  })

  it('does not spread to another issuer or audience', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    await establish(keys, registry, embedding(server))
    for (const changes of [
      { aud: 'another service' },
      { iss: 'another issuer' },
      { aud: ['registry', 'x'] },
    ]) {
      expect(keys.keyFor(registry.host, parseRegistryToken(embedding(server, changes)))).toBeUndefined()
    }
    expect(await establish(keys, registry, embedding(server, { aud: 'another service' }))).toBeUndefined()
  })

  it('does not spread from several audiences to one of them', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    expect(await establish(keys, registry, embedding(server, { aud: ['other', 'registry'] }))).toBeDefined()
    expect(
      keys.keyFor(registry.host, parseRegistryToken(embedding(server, { aud: ['registry', 'other'] }))),
    ).toBeDefined()
    for (const aud of ['other', 'registry', '["other","registry"]']) {
      expect(keys.keyFor(registry.host, parseRegistryToken(embedding(server, { aud })))).toBeUndefined()
    }
  })

  it('does not spread to another registry', async () => {
    const [registry, other] = [await start(), await start()]
    const keys = new TokenKeys({ registries: new Map([...registry.clients, ...other.clients]) })
    await establish(keys, registry, embedding(server))
    expect(keys.keyFor(other.host, parseRegistryToken(embedding(server)))).toBeUndefined()
    expect(
      keys.keyFor('elsewhere.example' as RegistryHost, parseRegistryToken(embedding(server))),
    ).toBeUndefined()
  })
})

describe('the registry is not asked', () => {
  it.each([
    ['about a token whose signature its own key refutes', () => `${embedding(server).slice(0, -4)}AAAA`],
    ['about a token that is over', () => embedding(server, { exp: 1000 })],
    ['about a token that has not begun', () => embedding(server, { nbf: 3e9 })],
    ['about a token that grants nothing', () => embedding(server, { access: [] })],
    ['about a token without any key', () => server.sign(pullClaims(REPOSITORY))],
    [
      'about a key id that it has not configured',
      () => server.sign(pullClaims(REPOSITORY), { kid: 'unknown' }),
    ],
  ])('%s', async (_, makeToken) => {
    const registry = await start()
    expect(await establish(keysOf(registry), registry, makeToken())).toBeUndefined()
    expect(registry.requests).toHaveLength(0)
  })

  it('about a token of another issuer or audience than configured', async () => {
    const registry = await start(honestDoor(server), { issuer: 'token server', audience: 'registry' })
    const keys = keysOf(registry)
    expect(await establish(keys, registry, embedding(server, { iss: 'another' }))).toBeUndefined()
    expect(await establish(keys, registry, embedding(server, { aud: 'another' }))).toBeUndefined()
    expect(registry.requests).toHaveLength(0)
    expect(await establish(keys, registry, embedding(server))).toBeDefined()
  })

  it.each(['introspect', 'none'] as const)('about tokens when its kind is %s', async (kind) => {
    const registry = await start(honestDoor(server), { kind })
    expect(await establish(keysOf(registry), registry, embedding(server))).toBeUndefined()
    expect(registry.requests).toHaveLength(0)
  })

  it('twice for callers that come at the same time with the same key', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    const tokens = Array.from({ length: 20 }, (_, index) => embedding(server, { sub: `user ${index}` }))
    const established = await Promise.all(tokens.map((jwt) => establish(keys, registry, jwt)))
    expect(established.every((key) => key !== undefined)).toBe(true)
    expect(registry.requests).toHaveLength(2)
  })

  it('again about a token that it just refused, until a while has passed', async () => {
    const registry = await start(alwaysStatus(401))
    let nowMs = Date.now()
    const keys = keysOf(registry, { nowMs: () => nowMs })
    const jwt = embedding(server)
    await establish(keys, registry, jwt)
    await establish(keys, registry, jwt)
    expect(registry.requests).toHaveLength(1)
    nowMs += REFUSAL_MS + 1
    registry.door = honestDoor(server)
    expect(await establish(keys, registry, jwt)).toBeDefined()
  })
})

describe('somebody else’s failure', () => {
  it('does not keep an honest token of the same key out', async () => {
    const registry = await start()
    const keys = keysOf(registry)
    const absent = digestFromHex('b'.repeat(64))
    const failing = establish(keys, registry, embedding(server, { sub: 'mallory' }), absent)
    const honest = establish(keys, registry, embedding(server, { sub: 'alice' }))
    expect(await failing).toBeUndefined()
    expect(await honest).toEqual(canonicalKey(server.publicJwk))
  })
})

describe('trust by probe', () => {
  it('ends, and is asked for again', async () => {
    const registry = await start()
    let nowMs = Date.now()
    const keys = keysOf(registry, { nowMs: () => nowMs })
    const jwt = embedding(server, { exp: 1e10 })
    await establish(keys, registry, jwt)
    nowMs += KEY_TRUST_MS + 1
    expect(keys.keyFor(registry.host, parseRegistryToken(jwt))).toBeUndefined()
    expect(keys.all()).toEqual([])
  })

  it('needs a registry that can be reached', async () => {
    const registry = await start()
    await registry.close()
    open.length = 0
    await expect(establish(keysOf(registry), registry, embedding(server))).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
    })
  })
})

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

  it('are trusted for their issuer and audience without a question', async () => {
    const { registry, keys } = await startWith(jwks, pinned)
    for (const jwt of [server.sign(pullClaims(REPOSITORY), { kid: 'key-1' }), embedding(server)]) {
      expect(await establish(keys, registry, jwt)).toEqual(canonicalKey(server.publicJwk))
    }
    expect(registry.requests).toHaveLength(0)
    const other = server.sign(pullClaims(REPOSITORY, { aud: 'another' }), { kid: 'key-1' })
    expect(keys.keyFor(registry.host, parseRegistryToken(other))).toBeUndefined()
    expect(keys.all()).toContainEqual(expect.objectContaining({ ...pinned, registry: registry.host }))
  })

  it('without issuer and audience name a key only: the registry decides whether it takes these tokens', async () => {
    const { registry, keys } = await startWith(jwks, {})
    const jwt = server.sign(pullClaims(REPOSITORY), { kid: 'key-1' })
    expect(keys.keyFor(registry.host, parseRegistryToken(jwt))).toBeUndefined()
    expect(await establish(keys, registry, jwt)).toEqual(canonicalKey(server.publicJwk))
    expect(registry.requests).toHaveLength(2)
    const elsewhere = server.sign(pullClaims(REPOSITORY, { aud: 'another' }), { kid: 'key-1' })
    expect(await establish(keys, registry, elsewhere)).toBeUndefined()
  })

  it('may be the PEM bundle of the registry, with the key id that Distribution computes', async () => {
    const authority = await makeAuthority({ commonName: 'x', validForSeconds: 60 })
    const leaf = await issueLeaf(authority, {
      commonName: 'token server',
      validForSeconds: 60,
      names: [{ type: 'dns', value: 'token.example' }],
      usages: ['serverAuth'],
      spki: spkiOf(server.publicKey),
    })
    const { registry, keys } = await startWith(leaf.certificatePem, pinned)
    const kid = libtrustKeyId(server.publicKey)
    expect(kid).toMatch(/^(?:[A-Z2-7]{4}:){11}[A-Z2-7]{4}$/)
    expect(await establish(keys, registry, server.sign(pullClaims(REPOSITORY), { kid }))).toBeDefined()
    expect(registry.requests).toHaveLength(0)
  })

  it('do not extend to a stranger’s token that names them', async () => {
    const { registry, keys } = await startWith(jwks, pinned)
    const forged = stranger.sign(pullClaims(REPOSITORY), { kid: 'key-1' })
    expect(await establish(keys, registry, forged)).toBeUndefined()
    expect(registry.requests).toHaveLength(0)
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
  it('are trusted until it vouches for others', async () => {
    const registry = await start()
    const tracker = keysOf(registry)
    await establish(tracker, registry, embedding(server))
    const node = keysOf(registry)
    node.adopt(JSON.parse(JSON.stringify(tracker.all())))
    expect(node.keyFor(registry.host, parseRegistryToken(embedding(server)))).toEqual(
      canonicalKey(server.publicJwk),
    )
    expect(node.all()).toEqual([])
    node.adopt([])
    expect(node.keyFor(registry.host, parseRegistryToken(embedding(server)))).toBeUndefined()
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
