import { createHash, createPublicKey, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'
import type { SubjectAltNames } from '../../core/certificate-claims.ts'
import { InvalidInputError } from '../../core/errors.ts'
import { der, elementsOf, oid, TAG, time } from './der.ts'

/**
 * Leaf certificates (RFC 5280) written straight into DER and signed natively: grants are the tracker's hot path, and
 * the general library makes about 350 a second. Tests read what is written here with that library and with OpenSSL.
 * Always ECDSA P-256 with SHA-256, issued directly by the authority.
 */

export interface Leaf {
  commonName: string
  /** DER SubjectPublicKeyInfo that `checkedP256Spki` accepted. */
  spki: Buffer
  names: SubjectAltNames
  usages: readonly ('serverAuth' | 'clientAuth')[]
  notBeforeMs: number
  notAfterMs: number
}

/** What every leaf of one authority shares. */
export interface Issuer {
  key: KeyObject
  /** The authority's subject, as DER. */
  name: Buffer
  /** The AuthorityKeyIdentifier extension, as DER. */
  keyIdentifier: Buffer
}

const ECDSA_WITH_SHA256 = der(TAG.sequence, oid('2a8648ce3d040302'))
const VERSION_3 = der(0xa0, der(TAG.integer, Buffer.from([2])))
const COMMON_NAME = oid('550403')
const USAGE_OIDS = { serverAuth: oid('2b06010505070301'), clientAuth: oid('2b06010505070302') } as const
const CRITICAL = der(TAG.boolean, Buffer.from([0xff]))
/** basicConstraints with nothing inside: not an authority. */
const NOT_AN_AUTHORITY = extension(oid('551d13'), der(TAG.sequence), CRITICAL)
/** keyUsage: digitalSignature, the first of one used bit. */
const SIGNS_ONLY = extension(oid('551d0f'), der(TAG.bitString, Buffer.from([7, 0x80])), CRITICAL)
const EXTENDED_KEY_USAGE = oid('551d25')
const SUBJECT_ALT_NAME = oid('551d11')
const AUTHORITY_KEY_IDENTIFIER = oid('551d23')
const URI_TAG = 0x86
const DNS_NAME_TAG = 0x82
const SERIAL_BYTES = 16

/** SubjectPublicKeyInfo of P-256 up to the point: RFC 5480 §2, uncompressed form. */
const P256_SPKI_PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')
const P256_SPKI_BYTES = 91

/** @returns the certificate in PEM */
export function writeLeaf(issuer: Issuer, leaf: Leaf): string {
  const toBeSigned = der(
    TAG.sequence,
    VERSION_3,
    der(TAG.integer, serialNumber()),
    ECDSA_WITH_SHA256,
    issuer.name,
    der(TAG.sequence, time(leaf.notBeforeMs), time(leaf.notAfterMs)),
    nameOf(leaf.commonName),
    leaf.spki,
    der(0xa3, der(TAG.sequence, ...extensionsOf(leaf), issuer.keyIdentifier)),
  )
  const signature = sign('sha256', toBeSigned, { key: issuer.key, dsaEncoding: 'der' })
  return toPem(der(TAG.sequence, toBeSigned, ECDSA_WITH_SHA256, bitString(signature)))
}

/** Reads from an authority's certificate what its leaves repeat. */
export function issuerOf(certificatePem: string, key: KeyObject): Issuer {
  const certificate = elementsOf(new X509Certificate(certificatePem).raw)[0]!
  const fields = elementsOf(elementsOf(certificate.contents)[0]!.contents)
  // version, serial number, algorithm, issuer, validity, subject, key (RFC 5280 §4.1)
  const subject = fields[5]!
  const publicKeyBits = elementsOf(fields[6]!.contents)[1]!.contents.subarray(1)
  // RFC 5280 §4.2.1.2, method 1: what the library writes into the authority's SubjectKeyIdentifier.
  const identifier = createHash('sha1').update(publicKeyBits).digest()
  const keyIdentifier = extension(AUTHORITY_KEY_IDENTIFIER, der(TAG.sequence, der(0x80, identifier)))
  return { key, name: Buffer.from(subject.whole), keyIdentifier }
}

/**
 * A key that may be certified: ECDSA P-256, uncompressed, a point on the curve.
 * @throws InvalidInputError
 */
export function checkedP256Spki(spki: Buffer): Buffer {
  const isP256 =
    spki.length === P256_SPKI_BYTES && spki.subarray(0, P256_SPKI_PREFIX.length).equals(P256_SPKI_PREFIX)
  if (!isP256) throw new InvalidInputError('publicKey is not an ECDSA P-256 key')
  try {
    createPublicKey({ key: spki, format: 'der', type: 'spki' })
  } catch (cause) {
    throw new InvalidInputError('publicKey is not a point on P-256', { cause })
  }
  return spki
}

function extensionsOf(leaf: Leaf): Buffer[] {
  const usages = leaf.usages.map((usage) => USAGE_OIDS[usage])
  const names = [
    ...leaf.names.dnsNames.map((name) => der(DNS_NAME_TAG, Buffer.from(name, 'ascii'))),
    ...leaf.names.uris.map((uri) => der(URI_TAG, Buffer.from(uri, 'ascii'))),
  ]
  return [
    NOT_AN_AUTHORITY,
    SIGNS_ONLY,
    extension(EXTENDED_KEY_USAGE, der(TAG.sequence, ...usages)),
    extension(SUBJECT_ALT_NAME, der(TAG.sequence, ...names)),
  ]
}

function extension(id: Buffer, value: Buffer, critical: Buffer = Buffer.alloc(0)): Buffer {
  return der(TAG.sequence, id, critical, der(TAG.octetString, value))
}

function nameOf(commonName: string): Buffer {
  const attribute = der(TAG.sequence, COMMON_NAME, der(TAG.utf8String, Buffer.from(commonName)))
  return der(TAG.sequence, der(TAG.set, attribute))
}

function bitString(bytes: Buffer): Buffer {
  return der(TAG.bitString, Buffer.from([0]), bytes)
}

/** Positive, of fixed length, from the system's randomness (CA/Browser Forum Baseline Requirements §7.1). */
function serialNumber(): Buffer {
  const bytes = randomBytes(SERIAL_BYTES)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes
}

function toPem(bytes: Buffer): string {
  const lines = bytes.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}
