import 'reflect-metadata'
import type { X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { type CertificateClaims, claimsOf } from '../core/certificate-claims.ts'
import { type NameConstraints, readNameConstraints } from './name-constraints.ts'
import { LAB_AUTHORITY_NAME, TRACKER_NAME } from './tracker-certificates.ts'

/** A certificate's own statements. Nothing here is verified: recipients decide whether to trust it. */
export interface CertificateFacts {
  kind: CertificateKind
  subject: string
  issuer: string
  /** SHA-256 of the issuer's certificate, if available (in the same file, or itself). */
  issuerFingerprint: string | null
  /** The issuer's key that signed (RFC 5280 §4.2.1.1). */
  issuerKeyId: string | null
  fingerprint: string
  serialNumber: string
  isAuthority: boolean
  /** ISO 8601. */
  validFrom: string
  validTo: string
  usages: string[]
  /** Subject alternative names as in `DNS:localhost`, without those in `claims`. */
  names: string[]
  nameConstraints: NameConstraints | null
  claims: CertificateClaims | null
}

export type CertificateKind =
  | CertificateClaims['kind']
  | 'cluster-authority'
  | 'lab-authority'
  | 'tracker'
  | 'proxy-authority'
  | 'proxy'
  | 'admin-authority'
  | 'admin-listener'
  | 'admin'
  | 'other'

/** Common names of Shoal's certificates without claims. */
const KIND_BY_NAME: [RegExp, CertificateKind][] = [
  [/^shoal (?:cluster c|authority )[0-9a-f]{16}$/, 'cluster-authority'],
  [new RegExp(`^${LAB_AUTHORITY_NAME}$`), 'lab-authority'],
  [new RegExp(`^${TRACKER_NAME}$`), 'tracker'],
  [/^Shoal proxy \(/, 'proxy-authority'],
  [/^Shoal proxy$/, 'proxy'],
  [/^shoal tracker admin(?: [0-9a-f]{16})?$/, 'admin-authority'],
  [/^shoal tracker admin listener$/, 'admin-listener'],
  [/^shoal administrator$/, 'admin'],
]

const USAGE_NAMES: Record<string, string> = {
  '1.3.6.1.5.5.7.3.1': 'server',
  '1.3.6.1.5.5.7.3.2': 'client',
}
const NAME_CONSTRAINTS = '2.5.29.30'
const SHOAL_URI = /^URI:urn:shoal:/

/** @param bundle the certificates of the same file; an issuer among them is named by its fingerprint */
export function factsOf(certificate: X509Certificate, bundle: X509Certificate[] = []): CertificateFacts {
  const details = new x509.X509Certificate(certificate.raw)
  const claims = claimsIfAny(certificate)
  const issuer = [certificate, ...bundle].find((other) => isIssuedBy(certificate, other))
  return {
    kind: claims?.kind ?? kindByName(certificate),
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    issuerFingerprint: issuer?.fingerprint256 ?? null,
    issuerKeyId: details.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId ?? null,
    fingerprint: certificate.fingerprint256,
    serialNumber: certificate.serialNumber,
    isAuthority: certificate.ca,
    validFrom: certificate.validFromDate.toISOString(),
    validTo: certificate.validToDate.toISOString(),
    usages: (certificate.keyUsage ?? []).map((oid) => USAGE_NAMES[oid] ?? oid),
    names: claims === null ? namesOf(certificate) : [],
    nameConstraints: constraintsOf(details),
    claims,
  }
}

function claimsIfAny(certificate: X509Certificate): CertificateClaims | null {
  try {
    return claimsOf(certificate)
  } catch {
    return null
  }
}

function kindByName(certificate: X509Certificate): CertificateKind {
  const name = /(?:^|\n)CN=(.*)/.exec(certificate.subject)?.[1] ?? ''
  return KIND_BY_NAME.find(([pattern]) => pattern.test(name))?.[1] ?? 'other'
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function namesOf(certificate: X509Certificate): string[] {
  const names = certificate.subjectAltName?.split(', ') ?? []
  return names.filter((name) => !SHOAL_URI.test(name))
}

function constraintsOf(details: x509.X509Certificate): NameConstraints | null {
  const extension = details.getExtension(NAME_CONSTRAINTS)
  return extension === null ? null : readNameConstraints(Buffer.from(extension.value))
}

function oneLine(distinguishedName: string | undefined): string {
  return (distinguishedName ?? '').split('\n').join(', ')
}
