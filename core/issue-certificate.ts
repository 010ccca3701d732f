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
 * Makes certificates: authorities, and leaves that an authority issues directly (no intermediates, as libtorrent loads
 * none). Always ECDSA P-256 with SHA-256.
 */

const generateKeyPair = promisify(generate)
/** Certificates start this early, so that nodes accept them at once although their clocks are off by up to this much. */
export const CLOCK_SKEW_ALLOWED_SECONDS = 300

/** Key and certificate; `privateKeyPem` is PKCS#8. The holder decides where to store it. */
export interface KeyedCertificate {
  certificatePem: string
  privateKeyPem: string
}

export interface AuthorityOptions {
  commonName: string
  validForSeconds: number
  /** Critical name constraints (RFC 5280 §4.2.1.10): the authority can issue only for these hosts. */
  permitted?: { dnsNames: string[]; ipAddresses: string[] }
}

export interface LeafOptions {
  commonName: string
  validForSeconds: number
  names: { type: 'dns' | 'ip' | 'url' | 'email'; value: string }[]
  usages: ('serverAuth' | 'clientAuth')[]
  /** DER SubjectPublicKeyInfo of the holder's key; if absent, a key is made. */
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

/** @returns the certificate, and the private key's PEM if the key was made here, else '' */
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

/** @throws TypeError for another kind of key, because the certificate would name the wrong algorithm */
function p256Key(key: KeyObject): KeyObject {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('not an ECDSA P-256 key')
  return key
}

/** RFC 5280 §4.2.1.6 */
function generalName({ type, value }: LeafOptions['names'][number]): Buffer {
  if (type === 'ip') return der(NAME_TAG.ip, addressBytes(value))
  return der(NAME_TAG[type === 'url' ? 'uri' : type], Buffer.from(value, 'ascii'))
}

/** DER SubjectPublicKeyInfo of a private or public key. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' })
}

/** Resolves nowhere (RFC 6761 §6.4). */
const NOBODY = 'nobody.invalid'
/** GeneralName tags (RFC 5280 §4.2.1.6). */
const NAME_TAG = { email: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const

/**
 * NameConstraints (RFC 5280 §4.2.1.10) that leave the permitted hosts and no other name. A form of name without any
 * subtree is unconstrained, so every form that verifiers know is mentioned:
 * - A permitted dNSName includes its subdomains; these are excluded by the name with a leading dot, which OpenSSL and Go
 *   read as "at least one label more" (erratum 5997 of RFC 5280). For GnuTLS it matches no name, so GnuTLS permits
 *   subdomains; the verifier of Python's `cryptography` (not its `ssl`) refuses the authority.
 * - Addresses are all excluded unless some are permitted; DNS names likewise, by the empty name.
 * - For email addresses and URIs one host is permitted and the same one excluded: OpenSSL reads an empty name as no host
 *   at all in these forms, so that it would exclude nothing.
 * Directory names and other names (such as SRV) are left out: Go refuses an authority with a critical constraint on them.
 */
function nameConstraints({ dnsNames, ipAddresses }: { dnsNames: string[]; ipAddresses: string[] }): Buffer {
  const nobody = [subtree(NAME_TAG.email, NOBODY), subtree(NAME_TAG.uri, NOBODY)]
  const permitted = [
    ...dnsNames.map((name) => subtree(NAME_TAG.dns, name)),
    ...ipAddresses.map((address) => subtree(NAME_TAG.ip, hostRange(address))),
    ...nobody,
  ]
  const allAddresses = [Buffer.alloc(8), Buffer.alloc(32)].map((range) => subtree(NAME_TAG.ip, range))
  const excluded = [
    ...(dnsNames.length === 0 ? [''] : dnsNames.map((name) => `.${name}`)).map((name) =>
      subtree(NAME_TAG.dns, name),
    ),
    ...(ipAddresses.length === 0 ? allAddresses : []),
    ...nobody,
  ]
  return extension(oid('551d1e'), der(0x30, der(0xa0, ...permitted), der(0xa1, ...excluded)), {
    isCritical: true,
  })
}

function subtree(tag: number, base: string | Buffer): Buffer {
  return der(0x30, der(tag, typeof base === 'string' ? Buffer.from(base, 'ascii') : base))
}

/** One address in RFC 5280's form of a range: address, then an all-ones mask. */
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
