import 'reflect-metadata'
import { createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

/**
 * Making certificates: authorities, and leaves that an authority issues directly (no intermediates: libtorrent loads
 * none). ECDSA P-256 with SHA-256 throughout. Not for hot paths (about 350 a second).
 */

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0])

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
/** Certificates start this early, so that nodes whose clocks are off by up to as much accept them at once. */
export const CLOCK_SKEW_ALLOWED_SECONDS = 300

/** Key and certificate; `privateKeyPem` is PKCS#8. Whoever holds it decides where it may rest. */
export interface KeyedCertificate {
  certificatePem: string
  privateKeyPem: string
}

export interface AuthorityOptions {
  commonName: string
  validForSeconds: number
  /** Critical name constraints (RFC 5280 §4.2.1.10): nothing but these names can be issued for. */
  permitted?: { dnsNames: string[]; ipAddresses: string[] }
}

export interface LeafOptions {
  commonName: string
  validForSeconds: number
  names: { type: 'dns' | 'ip' | 'url'; value: string }[]
  usages: ('serverAuth' | 'clientAuth')[]
  /** DER SubjectPublicKeyInfo of the holder's key; made here when absent. */
  spki?: Uint8Array
}

async function makeKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
}

export async function makeAuthority(options: AuthorityOptions): Promise<KeyedCertificate> {
  const keys = await makeKeyPair()
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(true, 0, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
  ]
  if (options.permitted) extensions.push(nameConstraints(options.permitted))
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${options.commonName}`,
    ...validity(options.validForSeconds),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions,
  })
  return {
    certificatePem: pemOf(certificate),
    privateKeyPem: await privateKeyToPem(keys.privateKey),
  }
}

/** @returns the certificate, with the private key's PEM when the key was made here, else '' */
export async function issueLeaf(
  authority: KeyedCertificate,
  options: LeafOptions,
): Promise<KeyedCertificate> {
  const issuer = new x509.X509Certificate(authority.certificatePem)
  const signingKey = await privateKeyFromPem(authority.privateKeyPem)
  const made = options.spki === undefined ? await makeKeyPair() : undefined
  const publicKey =
    made?.publicKey ?? (await webcrypto.subtle.importKey('spki', options.spki!, ALGORITHM, true, ['verify']))
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${options.commonName}`,
    issuer: issuer.subject,
    ...validity(options.validForSeconds),
    publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(options.usages.map((usage) => x509.ExtendedKeyUsage[usage])),
      new x509.SubjectAlternativeNameExtension(options.names),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    certificatePem: pemOf(certificate),
    privateKeyPem: made === undefined ? '' : await privateKeyToPem(made.privateKey),
  }
}

/** Positive and 16 bytes long (CA/Browser Forum Baseline Requirements ask for 64 bits from a CSPRNG). */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes.toString('hex')
}

function validity(validForSeconds: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now()
  return {
    notBefore: new Date(now - CLOCK_SKEW_ALLOWED_SECONDS * 1000),
    notAfter: new Date(now + validForSeconds * 1000),
  }
}

async function privateKeyToPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}

async function privateKeyFromPem(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), ALGORITHM, false, ['sign'])
}

/** With a line end: PEM files are joined by putting one after the other, and Go finds nothing where it is missing. */
function pemOf(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`
}

/** DER SubjectPublicKeyInfo of a private or public key. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' })
}

/**
 * NameConstraints by hand: the library has no class for it. Where only dNSNames are permitted an IP SAN would still
 * verify, so all addresses are excluded unless some are permitted (then all others are, by RFC 5280's rule).
 */
function nameConstraints(permitted: { dnsNames: string[]; ipAddresses: string[] }): x509.Extension {
  const subtrees = [
    ...permitted.dnsNames.map((name) => der(0x30, der(0x82, Buffer.from(name, 'ascii')))),
    ...permitted.ipAddresses.map((address) => der(0x30, der(0x87, hostRange(address)))),
  ]
  const parts = [der(0xa0, ...subtrees)]
  const excluded = []
  if (permitted.ipAddresses.length === 0) {
    excluded.push(der(0x30, der(0x87, Buffer.alloc(8))), der(0x30, der(0x87, Buffer.alloc(32))))
  }
  // With only addresses permitted, any dNSName would verify: the empty name excludes them all.
  if (permitted.dnsNames.length === 0) excluded.push(der(0x30, der(0x82, Buffer.alloc(0))))
  if (excluded.length > 0) parts.push(der(0xa1, ...excluded))
  return new x509.Extension('2.5.29.30', true, new Uint8Array(der(0x30, ...parts)))
}

/** One address as RFC 5280 writes a range: address, then an all-ones mask. */
function hostRange(address: string): Buffer {
  const bytes = address.includes(':') ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number))
  return Buffer.concat([bytes, Buffer.alloc(bytes.length, 0xff)])
}

function ipv6Bytes(address: string): Buffer {
  const [head = '', tail] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  const bytes = Buffer.alloc(16)
  for (const [index, group] of all.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2)
  return bytes
}

function der(tag: number, ...contents: Buffer[]): Buffer {
  const body = Buffer.concat(contents)
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body])
  const length = Buffer.from(body.length.toString(16).padStart(body.length < 0x100 ? 2 : 4, '0'), 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body])
}
