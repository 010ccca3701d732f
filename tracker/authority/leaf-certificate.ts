import { ECDH } from 'node:crypto'
import type { SubjectAltNames } from '../../core/certificate-claims.ts'
import { der } from '../../core/der.ts'
import { InvalidInputError } from '../../core/errors.ts'
import {
  commonNameOf,
  extendedKeyUsage,
  type Issuer,
  NOT_AN_AUTHORITY,
  SIGNS_ONLY,
  subjectAltNames,
  writeCertificate,
} from '../../core/write-certificate.ts'

/** Leaf certificates of a cluster; its authority issues them directly. */

export interface Leaf {
  commonName: string
  /** DER SubjectPublicKeyInfo that `checkedP256Spki` accepted. */
  spki: Buffer
  names: SubjectAltNames
  usages: readonly ('serverAuth' | 'clientAuth')[]
  notBeforeMs: number
  notAfterMs: number
}

const URI_TAG = 0x86
const DNS_NAME_TAG = 0x82

/** The beginning of a P-256 SubjectPublicKeyInfo, up to the point (RFC 5480 §2, uncompressed form). */
const P256_SPKI_PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')
const P256_SPKI_BYTES = 91

/** @returns the certificate in PEM */
export function writeLeaf(issuer: Issuer, { commonName, usages, names, ...fields }: Leaf): string {
  return writeCertificate(issuer, {
    ...fields,
    subject: commonNameOf(commonName),
    extensions: [
      NOT_AN_AUTHORITY,
      SIGNS_ONLY,
      extendedKeyUsage(usages),
      subjectAltNames(namesOf(names)),
      issuer.keyIdentifier,
    ],
  })
}

/**
 * Checks that the key may be certified: ECDSA P-256, uncompressed, a point on the curve.
 * @throws InvalidInputError
 */
export function checkedP256Spki(spki: Buffer): Buffer {
  const isP256 =
    spki.length === P256_SPKI_BYTES && spki.subarray(0, P256_SPKI_PREFIX.length).equals(P256_SPKI_PREFIX)
  if (!isP256) throw new InvalidInputError('publicKey is not an ECDSA P-256 key')
  try {
    // Checks that the point is on the curve in a seventh of the time that making a key takes.
    ECDH.convertKey(spki.subarray(P256_SPKI_PREFIX.length - 1), 'prime256v1')
  } catch (cause) {
    throw new InvalidInputError('publicKey is not a point on P-256', { cause })
  }
  return spki
}

function namesOf({ dnsNames, uris }: SubjectAltNames): Buffer[] {
  return [
    ...dnsNames.map((name) => der(DNS_NAME_TAG, Buffer.from(name, 'ascii'))),
    ...uris.map((uri) => der(URI_TAG, Buffer.from(uri, 'ascii'))),
  ]
}
