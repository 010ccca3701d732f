import { createPrivateKey, X509Certificate } from 'node:crypto'
import { type CertificateClaims, claimsToNames } from '../../core/certificate-claims.ts'
import { CLOCK_SKEW_ALLOWED_SECONDS } from '../../core/issue-certificate.ts'
import { type Issuer, issuerOf } from '../../core/write-certificate.ts'
import { writeLeaf } from './leaf-certificate.ts'

/**
 * A node certificate's life, the longest of all. Nodes renew at two thirds. A stolen certificate is useless after a day,
 * or after a revocation.
 */
export const NODE_CERTIFICATE_SECONDS = 24 * 3600
/** The sides of a TLS connection that each kind of certificate may take. */
const USAGES = {
  node: ['clientAuth'],
  pull: ['clientAuth', 'serverAuth'],
  serve: ['serverAuth'],
  link: ['clientAuth', 'serverAuth'],
} as const

export interface IssueRequest {
  claims: CertificateClaims
  /** Checked by `checkedP256Spki`. */
  spki: Buffer
  nowMs: number
  validForSeconds: number
}

export interface IssuedCertificate {
  certificate: string
  validForSeconds: number
}

/** One unsealed authority of a cluster; it lives only in this process's memory. */
export class ClusterAuthority {
  readonly certificatePem: string
  /** SHA-256 of the certificate's DER, as Node prints it. */
  readonly fingerprint: string
  readonly createdAtMs: number
  readonly #issuer: Issuer

  constructor(certificatePem: string, privateKeyPem: string, createdAtMs: number) {
    this.certificatePem = certificatePem
    this.createdAtMs = createdAtMs
    this.fingerprint = new X509Certificate(certificatePem).fingerprint256
    this.#issuer = issuerOf(certificatePem, createPrivateKey(privateKeyPem))
  }

  issue({ claims, spki, nowMs, validForSeconds }: IssueRequest): IssuedCertificate {
    // cluster.ts uses this bound to compute when a previous authority's last certificate has ended.
    if (validForSeconds > NODE_CERTIFICATE_SECONDS) throw new RangeError('no certificate lasts that long')
    const certificate = writeLeaf(this.#issuer, {
      commonName: `shoal ${claims.kind} ${claims.node}`,
      spki,
      names: claimsToNames(claims),
      usages: USAGES[claims.kind],
      notBeforeMs: nowMs - CLOCK_SKEW_ALLOWED_SECONDS * 1000,
      notAfterMs: nowMs + validForSeconds * 1000,
    })
    return { certificate, validForSeconds }
  }
}
