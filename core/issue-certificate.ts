import { createPrivateKey, createPublicKey, generateKeyPair as generate, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { der, oid } from './der.ts'
import {
  commonNameOf,
  extendedKeyUsage,
  extension,
  issuerOf,
  LAST_AUTHORITY,
  NOT_AN_AUTHORITY,
  SIGNS_CERTIFICATES,
  SIGNS_ONLY,
  subjectAltNames,
  subjectKeyIdentifier,
  writeCertificate,
} from './write-certificate.ts'

/**
 * Making certificates: authorities, and leaves that an authority issues directly (no intermediates: libtorrent loads
 * none). ECDSA P-256 with SHA-256 throughout.
 */

const generateKeyPair = promisify(generate)
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

export async function makeAuthority(options: AuthorityOptions): Promise<KeyedCertificate> {
  const { privateKey } = await generateKeyPair('ec', { namedCurve: 'P-256' })
  const spki = spkiOf(privateKey)
  const subject = commonNameOf(options.commonName)
  const extensions = [LAST_AUTHORITY, SIGNS_CERTIFICATES, subjectKeyIdentifier(spki)]
  if (options.permitted) extensions.push(nameConstraints(options.permitted))
  const fields = { subject, spki, ...validity(options.validForSeconds), extensions }
  return {
    certificatePem: writeCertificate({ key: privateKey, name: subject }, fields),
    privateKeyPem: pemOf(privateKey),
  }
}

/** @returns the certificate, with the private key's PEM when the key was made here, else '' */
export async function issueLeaf(
  authority: KeyedCertificate,
  options: LeafOptions,
): Promise<KeyedCertificate> {
  const issuer = issuerOf(authority.certificatePem, p256Key(createPrivateKey(authority.privateKeyPem)))
  const made = options.spki === undefined ? await generateKeyPair('ec', { namedCurve: 'P-256' }) : undefined
  const publicKey =
    made?.publicKey ??
    p256Key(createPublicKey({ key: Buffer.from(options.spki!), format: 'der', type: 'spki' }))
  const certificatePem = writeCertificate(issuer, {
    subject: commonNameOf(options.commonName),
    spki: spkiOf(publicKey),
    ...validity(options.validForSeconds),
    extensions: [
      NOT_AN_AUTHORITY,
      SIGNS_ONLY,
      extendedKeyUsage(options.usages),
      subjectAltNames(options.names.map(generalName)),
      issuer.keyIdentifier,
    ],
  })
  return { certificatePem, privateKeyPem: made === undefined ? '' : pemOf(made.privateKey) }
}

function validity(validForSeconds: number): { notBeforeMs: number; notAfterMs: number } {
  const now = Date.now()
  return {
    notBeforeMs: now - CLOCK_SKEW_ALLOWED_SECONDS * 1000,
    notAfterMs: now + validForSeconds * 1000,
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string
}

/** @throws TypeError for another kind of key: the certificate would name the wrong algorithm */
function p256Key(key: KeyObject): KeyObject {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('not an ECDSA P-256 key')
  return key
}

/** RFC 5280 §4.2.1.6 */
function generalName({ type, value }: LeafOptions['names'][number]): Buffer {
  if (type === 'ip') return der(0x87, addressBytes(value))
  return der(type === 'dns' ? 0x82 : 0x86, Buffer.from(value, 'ascii'))
}

/** DER SubjectPublicKeyInfo of a private or public key. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' })
}

/**
 * NameConstraints (RFC 5280 §4.2.1.10). Where only dNSNames are permitted an IP SAN would still
 * verify, so all addresses are excluded unless some are permitted (then all others are, by RFC 5280's rule).
 */
function nameConstraints(permitted: { dnsNames: string[]; ipAddresses: string[] }): Buffer {
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
  return extension(oid('551d1e'), der(0x30, ...parts), { isCritical: true })
}

/** One address as RFC 5280 writes a range: address, then an all-ones mask. */
function hostRange(address: string): Buffer {
  const bytes = addressBytes(address)
  return Buffer.concat([bytes, Buffer.alloc(bytes.length, 0xff)])
}

function addressBytes(address: string): Buffer {
  return address.includes(':') ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number))
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
