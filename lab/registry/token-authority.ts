import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'

/**
 * The key that signs registry tokens, in the form of Distribution 2.8: tokens carry the certificate in `x5c`, and the
 * registry gets the bundle (`rootcertbundle`) that its chain must end in.
 */

export type TokenAlgorithm = 'ES256' | 'RS256'

export interface TokenSigningKey {
  algorithm: TokenAlgorithm
  privateKeyPem: string
  /** The key's certificate, for `x5c`. */
  certificatePem: string
  /** The bundle that the registry trusts. */
  bundlePem: string
}

const VALID_FOR_SECONDS = 7 * 24 * 3600
const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: 'SHA-256',
}

export async function makeTokenSigningKey(algorithm: TokenAlgorithm): Promise<TokenSigningKey> {
  return algorithm === 'ES256' ? ellipticKey() : rsaKey()
}

async function ellipticKey(): Promise<TokenSigningKey> {
  const authority = await makeAuthority({
    commonName: 'Shoal lab token authority',
    validForSeconds: VALID_FOR_SECONDS,
  })
  const leaf = await issueLeaf(authority, {
    commonName: 'Shoal lab token server',
    validForSeconds: VALID_FOR_SECONDS,
    names: [{ type: 'dns', value: 'token-signing.invalid' }],
    usages: ['serverAuth'],
  })
  return { algorithm: 'ES256', ...leaf, bundlePem: authority.certificatePem }
}

/** Self-signed: the certificate is its own bundle. */
async function rsaKey(): Promise<TokenSigningKey> {
  const keys = (await webcrypto.subtle.generateKey(RSA, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=Shoal lab token server',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + VALID_FOR_SECONDS * 1000),
    keys,
    signingAlgorithm: RSA,
    extensions: [new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true)],
  })
  const privateKeyPem = x509.PemConverter.encode(
    await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
    'PRIVATE KEY',
  )
  const certificatePem = certificate.toString('pem')
  return { algorithm: 'RS256', privateKeyPem, certificatePem, bundlePem: certificatePem }
}
