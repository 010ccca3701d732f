import { createHash, X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { ProofBinding } from '../../core/token-proof/index.ts'
import { PeerRefusedError } from '../errors.ts'

const EXPORTER_LABEL = 'EXPORTER-shoal-token-proof-v1'
/** Of links between nodes: a signature or proof for one kind of connection means nothing on the other. */
const LINK_EXPORTER_LABEL = 'EXPORTER-shoal-link-v1'
const EXPORTER_BYTES = 32

/** The binding of a token proof: this connection, the prover's role in it, and both certificates. */
export function proofBinding(
  socket: TLSSocket,
  {
    role,
    prover,
    verifier,
  }: { role: ProofBinding['role']; prover: X509Certificate; verifier: X509Certificate },
): ProofBinding {
  return {
    role,
    exporter: socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0)),
    proverCertificate: fingerprintOf(prover),
    verifierCertificate: fingerprintOf(verifier),
  }
}

/** What is bound to a link is bound to this (RFC 8446 §7.5). */
export function exporterOf(link: TLSSocket): Buffer {
  return link.exportKeyingMaterial(EXPORTER_BYTES, LINK_EXPORTER_LABEL, Buffer.alloc(0))
}

/** SHA-256 of a certificate's DER. */
export function fingerprintOf({ raw }: { raw: Uint8Array }): Buffer {
  return createHash('sha256').update(raw).digest()
}

/** @throws PeerRefusedError */
export function parseCertificate(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der)
  } catch (cause) {
    throw new PeerRefusedError('malformed certificate', { cause })
  }
}

/** Hex of the SHA-256 of the certificate's public key (SPKI). */
export function keyOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest('hex')
}
