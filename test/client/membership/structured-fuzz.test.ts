import { type JsonWebKey, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import fc, { type Arbitrary } from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Admission } from '../../../client/membership/admission.ts'
import {
  decodeExtensionHandshake,
  decodeHashBatch,
  decodeProof,
  decodeShownCertificate,
} from '../../../client/wire/extensions.ts'
import { decodeBencode } from '../../../core/bencode.ts'
import { parseBoundedJson } from '../../../core/bounded-json.ts'
import { claimsFromNames, type PullClaims } from '../../../core/certificate-claims.ts'
import { InvalidInputError, ShoalError } from '../../../core/errors.ts'
import type { SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryToken, parseSigningInput, signingInputHash } from '../../../core/registry-token.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'
import { canonicalKey, publicKeyFor, TOKEN_ALGORITHMS } from '../../../core/token-algorithms.ts'
import { TokenKeys } from '../../../core/token-keys.ts'
import { readBlobGet } from '../../../proxy/blob-request.ts'
import { spanOf } from '../../../proxy/byte-range.ts'
import { ManifestPlans } from '../../../proxy/manifest-plans.ts'
import { parseAuthority } from '../../../proxy/upstream/target.ts'
import { parseAnnounce, parseScrape } from '../../../tracker/stock/announce-query.ts'
import { encoded, makeSigner, pullClaims } from '../../core/signed-tokens.ts'
import { startWorld, type TestNode, type World } from '../../tracker/test-tracker.ts'

/**
 * Structured nonsense through every decoder that a stranger, a member of the cluster, a registry or a local user can reach:
 * nested without end, huge, of odd types, with members repeated or left out. fuzz.test.ts bends bytes; this bends shapes.
 * Repeat a failure with the seed that fast-check prints.
 */
const RUNS = 300 * Number(process.env.SHOAL_FUZZ_TIMES ?? 1)

/** Only errors of Shoal's come out. */
function expectBounded(decode: () => unknown): void {
  try {
    decode()
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
  }
}

function fuzz<Input>(inputs: Arbitrary<Input>, decode: (input: Input) => unknown, runs = RUNS): void {
  fc.assert(
    fc.property(inputs, (input) => expectBounded(() => decode(input))),
    { numRuns: runs },
  )
}

// --- JSON, as text: values would lose what is repeated and what no serialiser writes --------------------------

const NAMES = [
  'alg',
  'kty',
  'crv',
  'x',
  'y',
  'n',
  'e',
  'kid',
  'jwk',
  'x5c',
  'crit',
  'typ',
  'iss',
  'aud',
  'access',
]
const nameText = fc.oneof(
  fc
    .constantFrom(...NAMES, '__proto__', 'constructor', 'toString', 'length', '')
    .map((name) => JSON.stringify(name)),
  fc.constantFrom('"\\u0061lg"', '"\\u006bty"'),
)
const oddText = fc.constantFrom(
  ...[
    'null',
    'true',
    '0',
    '-0',
    '1e999',
    '-1e-999',
    '1.5',
    '9007199254740993',
    '"\\ud800"',
    '"\\u0000"',
    '""',
  ],
  ...['"ES256"', '"RS256"', '"RSA"', '"EC"', '"OKP"', '"P-256"', '"Ed25519"', '"AQAB"', '"Aw"', '[]', '{}'],
)
const longText = fc.integer({ min: 1, max: 200_000 }).map((length) => `"${'A'.repeat(length)}"`)
const deepText = fc
  .tuple(fc.constantFrom(['[', ']'], ['{"a":', '}'], ['[{"a":', '}]']), fc.integer({ min: 1, max: 15_000 }))
  .map(([[head, tail], depth]) => `${head!.repeat(depth)}1${tail!.repeat(depth)}`)
const openText = fc.integer({ min: 1, max: 30_000 }).map((depth) => '['.repeat(depth))
const { jsonText } = fc.letrec<{ jsonText: string }>((tie) => ({
  jsonText: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    oddText,
    fc.string().map((text) => JSON.stringify(text)),
    longText,
    deepText,
    openText,
    fc.array(tie('jsonText'), { maxLength: 5 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(nameText, tie('jsonText')), { maxLength: 6 })
      .map((members) => `{${members.map((member) => member.join(':')).join(',')}}`),
  ),
}))

/** A good object, in which members are replaced, repeated, added or left out. */
function bent(good: object): Arbitrary<string> {
  const members = Object.entries(good).map(([name, value]) => [JSON.stringify(name), JSON.stringify(value)])
  const changed = members.map(([name, value]) =>
    fc.oneof(
      { weight: 6, arbitrary: fc.constant([`${name}:${value}`]) },
      { weight: 2, arbitrary: jsonText.map((text) => [`${name}:${text}`]) },
      { weight: 1, arbitrary: jsonText.map((text) => [`${name}:${value}`, `${name}:${text}`]) },
      { weight: 1, arbitrary: fc.constant<string[]>([]) },
    ),
  )
  const added = fc.array(fc.tuple(nameText, jsonText), { maxLength: 2 })
  return fc
    .tuple(fc.tuple(...changed), added)
    .map(([kept, more]) => `{${[...kept.flat(), ...more.map((member) => member.join(':'))].join(',')}}`)
}

const signer = makeSigner('ES256')
const rsa = makeSigner('RS256')
const header = { typ: 'JWT', alg: 'ES256', kid: 'a', jwk: signer.publicJwk, x5c: ['AAAA'] }
const headerText = fc.oneof(bent(header), bent({ alg: 'RS256', jwk: rsa.publicJwk }), jsonText)
const payloadText = fc.oneof(bent(pullClaims('team/app')), jsonText)

describe('JSON', () => {
  it('is a value within its bounds, or refused', () => {
    const bounds = { charsMax: 100_000, depthMax: 16 }
    fc.assert(
      fc.property(jsonText, (text) => {
        try {
          const value = parseBoundedJson(text, bounds)
          expect(value).toEqual(JSON.parse(text))
          expect(JSON.stringify(value).length).toBeLessThanOrEqual(bounds.charsMax * 6)
        } catch (error) {
          if (!(error instanceof InvalidInputError)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })

  it('of honest values passes as it is', () => {
    const honest = fc
      .jsonValue({ maxDepth: 6 })
      .filter((value) => !JSON.stringify(value).includes('__proto__'))
    fc.assert(
      fc.property(honest, (value) => {
        const text = JSON.stringify(value)
        expect(parseBoundedJson(text, { charsMax: text.length, depthMax: 8 })).toEqual(JSON.parse(text))
      }),
      { numRuns: RUNS },
    )
  })

  it.each([
    ['a name twice', '{"a":1,"a":1}'],
    ['a name twice, once escaped', '{"a":1,"\\u0061":1}'],
    ['a name twice within', '[{"b":{"a":1,"a":2}}]'],
    ['a prototype', '{"a":{"__proto__":1}}'],
    ['a prototype, escaped', '{"\\u005f_proto__":1}'],
    ['one level too many', '[[[[[[[[[1]]]]]]]]]'],
    ['brackets without end', '['.repeat(1_000_000)],
    ['a text above its bound', `"${'a'.repeat(1_000_000)}"`],
    ['a string that does not end', '{"a":"\\'],
  ])('with %s is refused', (_, text) => {
    expect(() => parseBoundedJson(text, { charsMax: 1_000_000, depthMax: 8 })).toThrowError(InvalidInputError)
  })

  it('may have names again in other objects, and brackets in strings', () => {
    const text = '[{"a":{"a":"[[[[[[[[[["}},{"a":"\\\\"},{"b":"\\":{","a":[]}]'
    expect(parseBoundedJson(text, { charsMax: 1000, depthMax: 3 })).toEqual(JSON.parse(text))
  })
})

describe('a registry token', () => {
  it('of any header and payload is read or refused', () => {
    fuzz(fc.tuple(headerText, payloadText), ([head, payload]) => {
      const token = parseRegistryToken(`${encoded(head)}.${encoded(payload)}.AAAA`)
      // Nothing untyped goes on.
      expect(JSON.stringify(token).length).toBeLessThan(1_000_000)
    })
  })

  it('in any other encoding is read or refused', () => {
    const encodings = fc.constantFrom<BufferEncoding>('base64', 'hex', 'latin1', 'base64url')
    fuzz(fc.tuple(headerText, payloadText, encodings), ([head, payload, encoding]) =>
      parseSigningInput([head, payload].map((text) => Buffer.from(text).toString(encoding)).join('.')),
    )
  })

  it('and a key that are anything at all give no key, or one of the kind that its algorithm asks for', () => {
    const key = fc.oneof(bent(signer.publicJwk), bent(rsa.publicJwk), jsonText).map((text) => {
      try {
        return JSON.parse(text) as object
      } catch {
        return { kty: text }
      }
    })
    const odd = fc.oneof(key, fc.anything({ maxDepth: 3, withBigInt: true, withDate: true, withMap: true }))
    fuzz(fc.tuple(odd, fc.constantFrom(...TOKEN_ALGORITHMS)), ([jwk, algorithm]) => {
      const canonical = canonicalKey(jwk)
      for (const value of Object.values(canonical ?? {})) expect(typeof value).toBe('string')
      const read = publicKeyFor(algorithm, jwk as JsonWebKey)
      if (algorithm.startsWith('RS') && read) expect(read.asymmetricKeyDetails?.publicExponent).toBe(65537n)
    })
  })
})

describe('what a peer shows for its proof', () => {
  const host = parseRegistryHost('registry.example')
  const registries = new Map([[host, { host, kind: 'token', config: { host, kind: 'token' } }]]) as never
  const admission = new Admission({
    tokenKeys: new TokenKeys({ registries }),
    credentialsSeen: { isOpen: () => false } as never,
    cluster: () => undefined,
    freshTrust: async () => {},
  })
  const claims = { kind: 'pull', registry: host, repository: 'team/app' as Repository, grantedAtSeconds: 0 }
  const binding = {
    role: 'dialler',
    exporter: randomBytes(32),
    proverCertificate: randomBytes(32),
    verifierCertificate: randomBytes(32),
  } as const

  it('is refused with PEER_REFUSED, whatever it is, also when the certificate is bound to it', () => {
    const shown = fc.tuple(headerText, payloadText).map((parts) => parts.map(encoded).join('.'))
    fc.assert(
      fc.property(fc.oneof(shown, jsonText), fc.boolean(), (signingInput, isBound) => {
        const tokenHash = isBound ? signingInputHash(signingInput) : 'f'.repeat(64)
        const message = { signingInput, proof: Buffer.alloc(99) }
        const check = () =>
          admission.checkProof({ ...claims, tokenHash } as PullClaims, message, binding, 'key')
        expect(check).toThrowError(expect.objectContaining({ code: 'PEER_REFUSED' }))
        // What the certificate is not bound to is not even read: there is nothing that went wrong in reading it.
        if (!isBound) expect(check).toThrowError(expect.not.objectContaining({ cause: expect.anything() }))
      }),
      { numRuns: RUNS },
    )
  })
})

// --- bencode ------------------------------------------------------------------------------------------------

const FIELDS = [
  'm',
  'reqq',
  'shoal_block',
  'upload_only',
  'proof',
  'signing_input',
  'certificate',
  'signature',
]
const fieldName = fc.constantFrom(
  ...FIELDS,
  'hashes',
  'epoch',
  'first',
  'confirmed',
  'shoal_proof',
  '__proto__',
)
const bytesText = fc
  .oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.constantFrom(32, 64, 4096, 131_072).map((size) => new Uint8Array(size)),
  )
  .map((bytes) => `${bytes.length}:${Buffer.from(bytes).toString('latin1')}`)
const numberText = fc.constantFrom(
  ...[
    'i0e',
    'i1e',
    'i-1e',
    'i-0e',
    'i007e',
    'i9007199254740993e',
    'i999999999999999999999e',
    'ie',
    'i1',
    'i255e',
  ],
)
const deepBencode = fc
  .tuple(fc.constantFrom(['l', 'e'], ['d1:a', 'e']), fc.integer({ min: 1, max: 30_000 }))
  .map(([[head, tail], depth]) => `${head!.repeat(depth)}i1e${tail!.repeat(depth)}`)
const { bencodeText } = fc.letrec<{ bencodeText: string }>((tie) => ({
  bencodeText: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    numberText,
    bytesText,
    deepBencode,
    fc.constantFrom('', 'l', 'd', 'e', '9999999999:', '-1:', '5:ab'),
    fc.array(tie('bencodeText'), { maxLength: 4 }).map((items) => `l${items.join('')}e`),
    fc
      .array(fc.tuple(fieldName, tie('bencodeText')), { maxLength: 6 })
      .map((fields) => `d${fields.map(([name, value]) => `${name.length}:${name}${value}`).join('')}e`),
  ),
}))
const bencode = bencodeText.map((text) => Buffer.from(text, 'latin1'))

describe('bencoded messages', () => {
  it.each<[string, (bytes: Buffer) => unknown]>([
    ['values', decodeBencode],
    ['extension handshakes', decodeExtensionHandshake],
    ['proofs', decodeProof],
    ['shown certificates', decodeShownCertificate],
    ['hash batches', (bytes) => decodeHashBatch(bytes, 'ab'.repeat(20) as SwarmId)],
  ])('%s are read or refused', (_, decode) => fuzz(bencode, decode, 3 * RUNS))
})

// --- certificates, manifests, requests ------------------------------------------------------------------------

it('claims of certificates are read or refused', () => {
  const name = fc.constantFrom(
    'kind',
    'cluster',
    'node',
    'pull',
    'registry',
    'repository',
    'granted-at',
    'token',
    'x',
  )
  const value = fc.oneof(
    fc.constantFrom('pull', 'node', 'serve', '%', '%ff', 'ab'.repeat(20), 'c0123456789abcdef'),
    fc.string(),
  )
  const uri = fc.tuple(name, value).map((parts) => `urn:shoal:${parts.join(':')}`)
  const uris = fc.array(fc.oneof(uri, fc.string()), { maxLength: 12 })
  fuzz(fc.tuple(uris, fc.array(fc.string(), { maxLength: 200 })), ([uris, dnsNames]) =>
    claimsFromNames({ uris, dnsNames }),
  )
})

it('manifests of a registry plan nothing, or what has its shape', () => {
  const good = {
    schemaVersion: 2,
    config: { digest: `sha256:${'a'.repeat(64)}`, size: 5000 },
    layers: [{ digest: `sha256:${'b'.repeat(64)}`, size: 5000, annotations: { a: 'b' } }],
  }
  let planned = 0
  const plan = () => {
    planned += 1
  }
  const request = { method: 'GET', url: '/v2/team/app/manifests/v1', headersDistinct: {} } as IncomingMessage
  const read = (text: string) => {
    const watcher = new ManifestPlans({ plan }, { p2pMinBytes: 1000 }).watch(request, {
      host: parseRegistryHost('registry.example'),
    })!
    watcher.onStart(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
    watcher.onData(Buffer.from(text))
    watcher.onEnd()
  }
  fuzz(fc.oneof(bent(good), jsonText), read)
  read(JSON.stringify(good))
  expect(planned).toBeGreaterThan(0)
})

it('announces and scrapes are read or refused', () => {
  const name = fc.constantFrom('info_hash', 'port', 'left', 'event', '__proto__', '')
  const value = fc.oneof(
    fc.constantFrom('%', '%zz', '%00', '%ff'.repeat(20), '-1', '1e9', 'stopped'),
    fc.string(),
  )
  const field = fc.tuple(name, value, fc.constantFrom('=', '', '==')).map(([a, b, sign]) => `${a}${sign}${b}`)
  const url = fc.array(field, { maxLength: 400 }).map((fields) => `/announce?${fields.join('&')}`)
  fuzz(url, parseAnnounce)
  fuzz(url, parseScrape)
})

it('requests of local users are read, refused or left to the registry', () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom('Bearer x', 'Basic x', 'bytes=0-1', 'bytes=-', 'x'.repeat(60_000)),
  )
  const path = fc.oneof(
    text,
    fc.constant(`/v2/team/app/blobs/sha256:${'a'.repeat(64)}`),
    text.map((part) => `/v2/${part}/blobs/x`),
  )
  fuzz(fc.tuple(path, fc.array(text, { maxLength: 3 }), text), ([url, authorization, other]) => {
    const headers = { authorization: authorization[0], range: other, 'content-length': other }
    readBlobGet({ method: 'GET', url, headers, headersDistinct: { authorization } } as never)
    spanOf({ range: other, ifRange: url }, 1000, '"x"')
    parseAuthority(url)
  })
})

// --- the tracker, over the wire -------------------------------------------------------------------------------

describe('bodies that members send to the tracker', () => {
  let world: World
  let node: TestNode
  beforeAll(async () => {
    world = await startWorld({ tracker: { requestsPerSecondMax: 0 } })
    node = await world.joined(await world.makeCluster())
  })
  afterAll(() => world.close())

  const swarm = 'ab'.repeat(20)
  const count = { epoch: 0, firstPiece: 0, position: 0 }
  it.each<[string, object]>([
    ['/v1/nodes', { joinToken: 'x', publicKey: 'AA' }],
    [
      '/v1/pulls',
      {
        registry: 'registry.example',
        repository: 'a',
        credential: { scheme: 'none' },
        publicKey: 'AA',
        listenPort: 1,
        blobs: [],
      },
    ],
    ['/v1/pulls/x/renew', {}],
    [
      `/v1/swarms/${swarm}/hashes`,
      {
        ...count,
        pull: 'x',
        lease: null,
        hashes: '',
        isLeaseReleased: false,
        wantsLease: false,
        batchesFrom: null,
      },
    ],
    [`/v1/swarms/${swarm}/complete`, { epoch: 0, matched: 'whole', piecesSha1: null }],
    [`/v1/swarms/${swarm}/mismatch`, { epoch: 0, pieces: [{ piece: 0, hash: 'A'.repeat(43) }] }],
    [
      '/v1/heartbeat',
      {
        listenPort: 1,
        isFullInventory: true,
        holds: [],
        dropped: [],
        wantsPeers: [],
        badPeers: [],
        servePublicKey: null,
        revocationsVersion: 0,
      },
    ],
  ])('%s answers or refuses, and never fails', async (path, good) => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(bent(good), jsonText), async (body) => {
        expect((await node.request('POST', path, body)).status).toBeLessThan(500)
      }),
      { numRuns: Math.ceil(RUNS / 6) },
    )
    expect(world.logged()).not.toContain('"code":"DEFECT"')
  })
})
