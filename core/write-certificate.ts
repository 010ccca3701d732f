import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'
import { der, elementsOf, oid, TAG, time } from './der.ts'

/**
 * Writes certificates (RFC 5280) directly as DER and signs them natively. The tracker's grants are a hot path, for which
 * the general library is too slow (350 a second), and it would cost a node 13 MiB of memory. Tests read the result with
 * that library and with OpenSSL. Always ECDSA P-256 with SHA-256.
 */

/** The parts that all certificates of one authority share. */
export interface Issuer {
  key: KeyObject
  /** The authority's subject, as DER. */
  name: Buffer
  /** The AuthorityKeyIdentifier extension, as DER. */
  keyIdentifier: Buffer
}

export interface CertificateFields {
  /** As DER (`commonNameOf`). */
  subject: Buffer
  /** DER SubjectPublicKeyInfo. */
  spki: Buffer
  notBeforeMs: number
  notAfterMs: number
  /** As DER (`extension`). */
  extensions: Buffer[]
}

const ECDSA_WITH_SHA256 = der(TAG.sequence, oid('2a8648ce3d040302'))
const VERSION_3 = der(0xa0, der(TAG.integer, Buffer.from([2])))
const COMMON_NAME = oid('550403')
const SUBJECT_KEY_IDENTIFIER = oid('551d0e')
const AUTHORITY_KEY_IDENTIFIER = oid('551d23')
const EXTENDED_KEY_USAGE = oid('551d25')
const SUBJECT_ALT_NAME = oid('551d11')
const KEY_USAGE = oid('551d0f')
const BASIC_CONSTRAINTS = oid('551d13')
const USAGE_OIDS = { serverAuth: oid('2b06010505070301'), clientAuth: oid('2b06010505070302') } as const
const CRITICAL = der(TAG.boolean, Buffer.from([0xff]))
const SERIAL_BYTES = 16

/** Empty basicConstraints: not an authority. */
export const NOT_AN_AUTHORITY = extension(BASIC_CONSTRAINTS, der(TAG.sequence), { isCritical: true })
/** basicConstraints of an authority that cannot have another below it (path length 0). */
export const LAST_AUTHORITY = extension(
  BASIC_CONSTRAINTS,
  der(TAG.sequence, der(TAG.boolean, Buffer.from([0xff])), der(TAG.integer, Buffer.from([0]))),
  { isCritical: true },
)
/** keyUsage: digitalSignature, the first of one used bit. */
export const SIGNS_ONLY = extension(KEY_USAGE, der(TAG.bitString, Buffer.from([7, 0x80])), {
  isCritical: true,
})
/** keyUsage: keyCertSign and cRLSign, the last two of seven used bits. */
export const SIGNS_CERTIFICATES = extension(KEY_USAGE, der(TAG.bitString, Buffer.from([1, 0x06])), {
  isCritical: true,
})

/** @returns the certificate in PEM */
export function writeCertificate(issuer: Pick<Issuer, 'key' | 'name'>, fields: CertificateFields): string {
  const toBeSigned = der(
    TAG.sequence,
    VERSION_3,
    der(TAG.integer, serialNumber()),
    ECDSA_WITH_SHA256,
    issuer.name,
    der(TAG.sequence, time(fields.notBeforeMs), time(fields.notAfterMs)),
    fields.subject,
    fields.spki,
    der(0xa3, der(TAG.sequence, ...fields.extensions)),
  )
  // Pass only the key object, which already implies DER: with options Node takes half as long again.
  const signature = sign('sha256', toBeSigned, issuer.key)
  return toPem(der(TAG.sequence, toBeSigned, ECDSA_WITH_SHA256, bitString(signature)))
}

/** Reads the parts of an authority's certificate that its issued certificates repeat. */
export function issuerOf(certificatePem: string, key: KeyObject): Issuer {
  const certificate = elementsOf(new X509Certificate(certificatePem).raw)[0]!
  const fields = elementsOf(elementsOf(certificate.contents)[0]!.contents)
  // version, serial number, algorithm, issuer, validity, subject, key (RFC 5280 §4.1)
  const subject = fields[5]!
  const identifier = der(0x80, keyIdentifierOf(fields[6]!.whole))
  const keyIdentifier = extension(AUTHORITY_KEY_IDENTIFIER, der(TAG.sequence, identifier))
  return { key, name: Buffer.from(subject.whole), keyIdentifier }
}

export function subjectKeyIdentifier(spki: Buffer): Buffer {
  return extension(SUBJECT_KEY_IDENTIFIER, der(TAG.octetString, keyIdentifierOf(spki)))
}

/** SHA-1 of the key's bits (RFC 5280 §4.2.1.2, method 1). */
function keyIdentifierOf(spki: Buffer): Buffer {
  const publicKeyBits = elementsOf(elementsOf(spki)[0]!.contents)[1]!.contents.subarray(1)
  return createHash('sha1').update(publicKeyBits).digest()
}

export function extendedKeyUsage(usages: readonly ('serverAuth' | 'clientAuth')[]): Buffer {
  return extension(EXTENDED_KEY_USAGE, der(TAG.sequence, ...usages.map((usage) => USAGE_OIDS[usage])))
}

/** @param names GeneralNames as DER (RFC 5280 §4.2.1.6) */
export function subjectAltNames(names: Buffer[]): Buffer {
  return extension(SUBJECT_ALT_NAME, der(TAG.sequence, ...names))
}

export function extension(id: Buffer, value: Buffer, options: { isCritical?: boolean } = {}): Buffer {
  const critical = options.isCritical ? CRITICAL : Buffer.alloc(0)
  return der(TAG.sequence, id, critical, der(TAG.octetString, value))
}

/** A distinguished name with one common name. */
export function commonNameOf(text: string): Buffer {
  const attribute = der(TAG.sequence, COMMON_NAME, der(TAG.utf8String, Buffer.from(text)))
  return der(TAG.sequence, der(TAG.set, attribute))
}

function bitString(bytes: Buffer): Buffer {
  return der(TAG.bitString, Buffer.from([0]), bytes)
}

/** A positive random number of fixed length (CA/Browser Forum Baseline Requirements §7.1). */
function serialNumber(): Buffer {
  const bytes = randomBytes(SERIAL_BYTES)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes
}

/** Ends with a line end: PEM files may be concatenated, and Go does not find the next certificate without it. */
function toPem(bytes: Buffer): string {
  const lines = bytes
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}
