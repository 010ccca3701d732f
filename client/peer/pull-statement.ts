import type { ProofBinding } from '../../core/token-proof/index.ts'
import { fingerprintOf } from './proof-binding.ts'

/** Changes with every change of a statement's meaning or encoding. */
const LABEL = 'shoal-link-pull-v1'

/** What a pull is opened for: one link, in one direction. Fingerprints are SHA-256 of a certificate's DER. */
export interface PullStatement {
  /** The opener's part in the connection. */
  role: ProofBinding['role']
  cluster: string
  /** 32 bytes of exported keying material: equal on both sides, different on every connection. */
  exporter: Buffer
  /** The certificate that the opener presents in TLS. */
  openerCertificate: Buffer
  /** The certificate that the other side presents in TLS. */
  holderCertificate: Buffer
  pullCertificate: Buffer
}

/**
 * The bytes that the key of a pull certificate signs to open the pull on a link. Without this signature, whoever was shown
 * certificate and proof could show them to a holder that remembers the proof.
 */
export function pullStatementBytes(statement: PullStatement): Buffer {
  const { role, cluster, exporter, openerCertificate, holderCertificate, pullCertificate } = statement
  const fields = [LABEL, cluster, role, exporter, openerCertificate, holderCertificate, pullCertificate]
  return Buffer.concat(
    fields.flatMap((field) => {
      const bytes = typeof field === 'string' ? Buffer.from(field) : field
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    }),
  )
}

interface Certificate {
  /** DER */
  raw: Uint8Array
}

export function statementOf(link: {
  role: PullStatement['role']
  cluster: string
  exporter: Buffer
  opener: Certificate
  holder: Certificate
  pull: Certificate
}): PullStatement {
  return {
    role: link.role,
    cluster: link.cluster,
    exporter: link.exporter,
    openerCertificate: fingerprintOf(link.opener),
    holderCertificate: fingerprintOf(link.holder),
    pullCertificate: fingerprintOf(link.pull),
  }
}

/** The token's proof is bound to the same connection; the certificate that it is made under is the pull's. */
export function proofBindingOf(statement: PullStatement): ProofBinding {
  return {
    role: statement.role,
    exporter: statement.exporter,
    proverCertificate: statement.pullCertificate,
    verifierCertificate: statement.holderCertificate,
  }
}
