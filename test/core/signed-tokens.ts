import { generateKeyPairSync, type JsonWebKey, type KeyObject, randomUUID, sign } from 'node:crypto'

/** A token server's key pair for tests, and tokens that it really signs. */
export interface Signer {
  algorithm: string
  publicKey: KeyObject
  publicJwk: JsonWebKey
  privateJwk: JsonWebKey
  /** Signs any header and payload, so that malformed tokens can be signed too. */
  sign(payload: unknown, header?: Record<string, unknown>): string
}

const EC_CURVES: Record<string, string> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

function keyPairFor(algorithm: string, rsa: { bits?: number; exponent?: number }) {
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519')
  const namedCurve = EC_CURVES[algorithm]
  if (namedCurve !== undefined) return generateKeyPairSync('ec', { namedCurve })
  return generateKeyPairSync('rsa', {
    modulusLength: rsa.bits ?? 2048,
    publicExponent: rsa.exponent ?? 65537,
  })
}

export function makeSigner(algorithm: string, rsa: { bits?: number; exponent?: number } = {}): Signer {
  const { publicKey, privateKey } = keyPairFor(algorithm, rsa)
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  return {
    algorithm,
    publicKey,
    publicJwk: publicKey.export({ format: 'jwk' }),
    privateJwk: privateKey.export({ format: 'jwk' }),
    sign(payload, header = {}) {
      const signingInput = `${encoded({ typ: 'JWT', alg: algorithm, ...header })}.${encoded(payload)}`
      const options = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
      return `${signingInput}.${sign(hash, Buffer.from(signingInput), options).toString('base64url')}`
    },
  }
}

export function encoded(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

/** The payload of a token that grants pull on `repository` for five minutes. */
export function pullClaims(
  repository: string,
  changes: Record<string, unknown> = {},
): Record<string, unknown> {
  const nowSeconds = Math.floor(Date.now() / 1000)
  return {
    iss: 'token server',
    aud: 'registry',
    sub: 'alice',
    nbf: nowSeconds - 10,
    iat: nowSeconds,
    exp: nowSeconds + 300,
    // As registries' token servers do: no two tokens are the same.
    jti: randomUUID(),
    access: [{ type: 'repository', name: repository, actions: ['pull'] }],
    ...changes,
  }
}

export function signatureOf(jwt: string): Buffer {
  return Buffer.from(jwt.slice(jwt.lastIndexOf('.') + 1), 'base64url')
}

export function signingInputOf(jwt: string): string {
  return jwt.slice(0, jwt.lastIndexOf('.'))
}
