import { generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import 'reflect-metadata'
import { X509CertificateGenerator } from '@peculiar/x509'
import fc from 'fast-check'
import { compactVerify, exportJWK, importJWK } from 'jose'
import { describe, expect, it } from 'vitest'
import { issueLeaf, makeAuthority, spkiOf } from '../../core/issue-certificate.ts'
import {
  grantsPull,
  isSignedBy,
  isValidAt,
  parseRegistryToken,
  parseSigningInput,
  RegistryTokenError,
  TOKEN_ACCESS_MAX,
  TOKEN_CHARS_MAX,
} from '../../core/registry-token.ts'
import { canonicalKey, publicKeyFor, thumbprintOf } from '../../core/token-algorithms.ts'
import { encoded, makeSigner, pullClaims, signatureOf, signingInputOf } from './signed-tokens.ts'

const signer = makeSigner('ES256')
const REPOSITORY = 'team/app'

function codeOf(parse: () => unknown): string | undefined {
  try {
    parse()
    return undefined
  } catch (error) {
    if (error instanceof RegistryTokenError) return error.code
    throw error
  }
}

const codeOfClaims = (changes: Record<string, unknown>) =>
  codeOf(() => parseRegistryToken(signer.sign(pullClaims(REPOSITORY, changes))))
const codeOfHeader = (header: Record<string, unknown>) =>
  codeOf(() => parseRegistryToken(signer.sign(pullClaims(REPOSITORY), header)))

describe('reading a registry token', () => {
  it('finds what the token server wrote', () => {
    const claims = pullClaims(REPOSITORY)
    const jwt = signer.sign(claims, { kid: 'a-key' })
    const token = parseRegistryToken(jwt)
    expect(token).toMatchObject({
      algorithm: 'ES256',
      issuer: 'token server',
      audience: ['registry'],
      subject: 'alice',
      notBeforeSeconds: claims.nbf,
      expiresAtSeconds: claims.exp,
      access: [{ type: 'repository', name: REPOSITORY, actions: ['pull'] }],
      keyId: 'a-key',
      signingInput: signingInputOf(jwt),
    })
    expect(token.signature).toEqual(signatureOf(jwt))
    expect(token.hash).toMatch(/^[0-9a-f]{64}$/)
    expect(parseSigningInput(token.signingInput).hash).toBe(token.hash)
  })

  it('leaves unknown parameters and claims behind, whatever they are, and takes no name twice', () => {
    const odd = { nested: [{ a: [1] }], constructor: 7 }
    const plain = parseRegistryToken(signer.sign(pullClaims(REPOSITORY, { jti: 'a' })))
    const more = parseRegistryToken(signer.sign(pullClaims(REPOSITORY, { jti: 'a', odd }), { odd }))
    expect(Object.keys(more)).toEqual(Object.keys(plain))
    const twice = encoded('{"alg":"ES256","alg":"ES256"}')
    expect(codeOf(() => parseSigningInput(`${twice}.${encoded(pullClaims(REPOSITORY))}`))).toBe(
      'TOKEN_MALFORMED',
    )
  })

  it('takes several audiences, and access that is absent, null or without actions', () => {
    const parse = (changes: Record<string, unknown>) =>
      parseRegistryToken(signer.sign(pullClaims(REPOSITORY, changes)))
    expect(parse({ aud: ['one', 'two'] }).audience).toEqual(['one', 'two'])
    expect(parse({ access: undefined }).access).toEqual([])
    expect(parse({ access: null }).access).toEqual([])
    expect(
      parse({ access: [{ type: 'repository', name: REPOSITORY, actions: null }] }).access[0]?.actions,
    ).toEqual([])
  })

  it.each(['none', 'HS256', 'HS512', 'PS256', 'ES256K', 'Ed448', 'es256', ''])(
    'refuses the algorithm %j',
    (alg) => {
      expect(codeOfHeader({ alg })).toBe('TOKEN_ALGORITHM')
    },
  )

  it('refuses a critical header, known or not', () => {
    expect(codeOfHeader({ crit: ['b64'], b64: false })).toBe('TOKEN_CRITICAL_HEADER')
    expect(codeOfHeader({ crit: [] })).toBe('TOKEN_CRITICAL_HEADER')
  })

  it.each([
    ['a time that is text', { exp: '2030-01-01' }],
    ['a time that is negative', { nbf: -1 }],
    ['no issuer', { iss: undefined }],
    ['no audience', { aud: undefined }],
    ['an empty list of audiences', { aud: [] }],
    ['access that is no list', { access: 'repository:team/app:pull' }],
    ['access without a name', { access: [{ type: 'repository', actions: ['pull'] }] }],
    ['actions that are text', { access: [{ type: 'repository', name: 'a', actions: 'pull' }] }],
    ['too much access', { access: Array(TOKEN_ACCESS_MAX + 1).fill({ type: 'a', name: 'b', actions: [] }) }],
  ])('refuses %s', (_, changes) => {
    expect(codeOfClaims(changes)).toBe('TOKEN_MALFORMED')
  })

  it.each([
    ['an embedded key that is none', { jwk: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } }],
    ['an embedded secret', { jwk: { kty: 'oct', k: 'c2VjcmV0' } }],
    ['a chain that is none', { x5c: ['AAAA'] }],
    ['an empty chain', { x5c: [] }],
    ['a key id that is a number', { kid: 7 }],
    ['a type that is a list', { typ: ['JWT'] }],
    ['a key address that is an object', { jku: {} }],
    ['a chain of numbers', { x5c: [7] }],
    ['an embedded key that is null', { jwk: null }],
    [
      'an unknown parameter that is nested too deeply',
      { other: JSON.parse(`${'['.repeat(20)}${']'.repeat(20)}`) },
    ],
  ])('refuses %s', (_, header) => {
    expect(codeOfHeader(header)).toBe('TOKEN_MALFORMED')
  })

  it('refuses what is not three parts of canonical base64url with JSON objects in UTF-8', () => {
    const [header, payload, signature] = signer.sign(pullClaims(REPOSITORY)).split('.') as [
      string,
      string,
      string,
    ]
    const notUtf8 = Buffer.from(JSON.stringify(pullClaims(REPOSITORY)))
    notUtf8[notUtf8.indexOf('alice')] = 0xff
    const texts = [
      '',
      '.',
      '..',
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `${header}.${payload}.${signature}=`,
      `${header}.${payload}.${signature}.${signature}`,
      ` ${header}.${payload}.${signature}`,
      `${header}.${payload}.${signature}\n`,
      `${header}.${encoded('[]')}.${signature}`,
      `${header}.${encoded('null')}.${signature}`,
      `${encoded('"ES256"')}.${payload}.${signature}`,
      `${header}.${notUtf8.toString('base64url')}.${signature}`,
      `${header}.${payload}.${'A'.repeat(TOKEN_CHARS_MAX)}`,
    ]
    for (const text of texts)
      expect(
        codeOf(() => parseRegistryToken(text)),
        text.slice(0, 60),
      ).toBe('TOKEN_MALFORMED')
  })

  it('answers any text with a token or with its own error, and never quotes it', () => {
    const part = fc.oneof(fc.string(), fc.json().map(encoded), fc.base64String())
    fc.assert(
      fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
        expect(codeOf(() => parseRegistryToken(parts.join('.')))).toMatch(/^TOKEN_/)
      }),
    )
    const secret = signer.sign('{"iss": "very-secret-claim"')
    expect(() => parseRegistryToken(secret)).toThrowError(
      expect.not.objectContaining({ cause: expect.anything() }),
    )
  })

  it('reads the key of the first certificate of a chain, and of a JWK', async () => {
    const authority = await makeAuthority({ commonName: 'authority', validForSeconds: 60 })
    const leaf = await issueLeaf(authority, {
      commonName: 'token server',
      validForSeconds: 60,
      names: [{ type: 'dns', value: 'token.example' }],
      usages: ['serverAuth'],
      spki: spkiOf(signer.publicKey),
    })
    const der = (pem: string) => pem.replace(/-----[^-]+-----|\s/g, '')
    const chain = [der(leaf.certificatePem), der(authority.certificatePem)]
    const embedded = (header: Record<string, unknown>) =>
      parseRegistryToken(signer.sign(pullClaims(REPOSITORY), header)).embeddedKey
    expect(embedded({ x5c: chain })).toEqual(canonicalKey(signer.publicJwk))
    expect(embedded({ jwk: { ...signer.publicJwk, kid: 'x', use: 'sig' } })).toEqual(
      canonicalKey(signer.publicJwk),
    )
    expect(embedded({ x5c: chain, jwk: signer.publicJwk })).toEqual(canonicalKey(signer.publicJwk))
    expect(codeOfHeader({ x5c: chain, jwk: makeSigner('ES256').publicJwk })).toBe('TOKEN_MALFORMED')
  })

  it('leaves the private part of an embedded key behind', () => {
    const token = parseRegistryToken(signer.sign(pullClaims(REPOSITORY), { jwk: signer.privateJwk }))
    expect(token.embeddedKey).toEqual(canonicalKey(signer.publicJwk))
  })
})

describe('what a token grants', () => {
  const tokenWith = (changes: Record<string, unknown>) =>
    parseRegistryToken(signer.sign(pullClaims(REPOSITORY, changes)))
  const entry = (type: string, name: string, ...actions: string[]) => ({ type, name, actions })

  it('is pull on exactly the repositories that it names', () => {
    expect(grantsPull(tokenWith({}), REPOSITORY)).toBe(true)
    expect(
      grantsPull(tokenWith({ access: [entry('repository', REPOSITORY, 'push', 'pull')] }), REPOSITORY),
    ).toBe(true)
    expect(grantsPull(tokenWith({ access: [entry('repository', REPOSITORY, '*')] }), REPOSITORY)).toBe(true)
  })

  it.each([
    ['nothing', []],
    ['push only', [entry('repository', REPOSITORY, 'push')]],
    ['another repository', [entry('repository', 'team/app2', 'pull')]],
    ['a prefix', [entry('repository', 'team', 'pull')]],
    ['another type', [entry('registry', REPOSITORY, 'pull')]],
    ['a pattern', [entry('repository', '*', 'pull')]],
    [
      'the rights spread over two entries',
      [entry('repository', 'team/app2', 'pull'), entry('registry', REPOSITORY, 'pull')],
    ],
  ])('is not pull with %s', (_, access) => {
    expect(grantsPull(tokenWith({ access }), REPOSITORY)).toBe(false)
  })

  it('lasts from nbf to exp, with a minute of leeway', () => {
    const token = tokenWith({ nbf: 1000, exp: 2000 })
    const valid = [939, 940, 1000, 1999, 2000, 2059, 2060].map((at) => isValidAt(token, at))
    expect(valid).toEqual([false, true, true, true, true, true, false])
    expect([999, 1000, 1999, 2000].map((at) => isValidAt(token, at, 0))).toEqual([false, true, true, false])
    expect(isValidAt(tokenWith({ nbf: undefined, exp: 2000 }), 0)).toBe(true)
    expect(isValidAt(tokenWith({ exp: undefined }), 1500)).toBe(false)
  })
})

describe.each(['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])(
  'a signature with %s',
  (algorithm) => {
    const keys = makeSigner(algorithm)
    const jwt = keys.sign(pullClaims(REPOSITORY))

    it('verifies with its key, as jose has it too', async () => {
      expect(isSignedBy(parseRegistryToken(jwt), keys.publicJwk)).toBe(true)
      await compactVerify(jwt, await importJWK(keys.publicJwk, algorithm))
    })

    it('does not verify with another key, with a key of another kind, or with a changed bit', () => {
      const token = parseRegistryToken(jwt)
      expect(isSignedBy(token, makeSigner(algorithm).publicJwk)).toBe(false)
      for (const other of ['RS256', 'ES256', 'ES384', 'EdDSA'].filter(
        (a) => a.slice(0, 2) !== algorithm.slice(0, 2),
      )) {
        expect(isSignedBy(token, makeSigner(other).publicJwk)).toBe(false)
      }
      fc.assert(
        fc.property(fc.integer({ min: 0, max: token.signature.length * 8 - 1 }), (bit) => {
          const signature = Buffer.from(token.signature)
          signature[bit >> 3] = signature[bit >> 3]! ^ (1 << (bit & 7))
          expect(isSignedBy({ ...token, signature }, keys.publicJwk)).toBe(false)
        }),
        { numRuns: 20 },
      )
    })

    it('does not verify cut short or empty', () => {
      const token = parseRegistryToken(jwt)
      for (const signature of [Buffer.alloc(0), token.signature.subarray(1)]) {
        expect(isSignedBy({ ...token, signature }, keys.publicJwk)).toBe(false)
      }
    })
  },
)

describe('keys', () => {
  /** Large exponents make verifying slow by as much: 4096 bits of it take 200 times as long. */
  const exponentOf = (bits: number) => Buffer.alloc(bits / 8, 0xff).toString('base64url')
  it.each<[string, () => { jwk: object; jwt?: string }]>([
    ['of 1024 bits of RSA', () => ofSigner({ bits: 1024 })],
    ['of 4104 bits of RSA', () => ofSigner({ bits: 4104 })],
    ['with the exponent 3', () => ofSigner({ exponent: 3 })],
    ['with an exponent of 32 bits', () => ({ jwk: { ...rsa.publicJwk, e: exponentOf(32) } })],
    ['with an exponent of 2048 bits', () => ({ jwk: { ...rsa.publicJwk, e: exponentOf(2048) } })],
    ['with a modulus that is a list', () => ({ jwk: { ...rsa.publicJwk, n: [rsa.publicJwk.n] } })],
    ['with a modulus that is a number', () => ({ jwk: { ...rsa.publicJwk, n: 7 } })],
    ['without an exponent', () => ({ jwk: { ...rsa.publicJwk, e: undefined } })],
    ['with a coordinate that is an object', () => ({ jwk: { ...signer.publicJwk, x: {} } })],
    ['with a coordinate that is long', () => ({ jwk: { ...signer.publicJwk, x: 'A'.repeat(1000) } })],
    ['of another curve', () => ({ jwk: { ...signer.publicJwk, crv: 'secp256k1' } })],
    ['that are lists', () => ({ jwk: [signer.publicJwk] })],
  ])('%s are no keys, embedded or used', (_, make) => {
    const { jwk, jwt } = make()
    expect(canonicalKey(jwk)).toBeUndefined()
    expect(publicKeyFor('RS256', jwk as JsonWebKey)).toBeUndefined()
    expect(publicKeyFor('ES256', jwk as JsonWebKey)).toBeUndefined()
    expect(codeOfHeader({ jwk })).toBe('TOKEN_MALFORMED')
    if (jwt !== undefined) expect(isSignedBy(parseRegistryToken(jwt), jwk as JsonWebKey)).toBe(false)
  })

  const rsa = makeSigner('RS256')
  function ofSigner(changes: { bits?: number; exponent?: number }) {
    const weak = makeSigner('RS256', changes)
    return { jwk: weak.publicJwk, jwt: weak.sign(pullClaims(REPOSITORY)) }
  }

  it('of x5c are bound by the same rules', async () => {
    const chainOf = async (exponent: number[]) => {
      const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
      const rsaKey = { ...algorithm, modulusLength: 2048, publicExponent: new Uint8Array(exponent) }
      const keys = await crypto.subtle.generateKey(rsaKey, true, ['sign', 'verify'])
      const made = await X509CertificateGenerator.createSelfSigned({ keys, signingAlgorithm: algorithm })
      return [Buffer.from(made.rawData).toString('base64')]
    }
    const codes = [[1, 0, 1], [3]].map(async (exponent) => codeOfHeader({ x5c: await chainOf(exponent) }))
    expect(await Promise.all(codes)).toEqual([undefined, 'TOKEN_MALFORMED'])
  })

  it('have one canonical form and the thumbprint of RFC 7638', async () => {
    // The example of RFC 7638 §3.1.
    const example = {
      kty: 'RSA',
      n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
      e: 'AQAB',
      alg: 'RS256',
      kid: '2011-04-29',
    }
    expect(thumbprintOf(example).toString('base64url')).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
    expect(canonicalKey({ ...(await exportJWK(publicKey)), use: 'sig' })).toEqual(await exportJWK(publicKey))
  })
})
