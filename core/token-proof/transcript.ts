import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { TokenAlgorithm } from '../token-algorithms.ts'

/** Binds a proof to one direction of one TLS connection between two certificates. */
export interface ProofBinding {
  /** The prover's part in the connection. */
  role: 'dialler' | 'acceptor'
  /** 32 bytes of exported keying material (RFC 8446 §7.5): equal on both sides, different on every connection. */
  exporter: Buffer
  /** SHA-256 of the DER certificate that the prover presented on this connection: 32 bytes. */
  proverCertificate: Buffer
  /** The same of the verifier's certificate. */
  verifierCertificate: Buffer
}

/** The proved statement: the holder of `thumbprint`'s key signed `signingInput`. */
export interface Transcript {
  binding: ProofBinding
  algorithm: TokenAlgorithm
  /** RFC 7638 thumbprint of the verification key: 32 bytes. */
  thumbprint: Buffer
  signingInput: string
}

/** Changes with every change of a proof's meaning or encoding. */
const LABEL = 'shoal-token-proof-v1'

/**
 * All challenge bits of a proof (Fiat–Shamir): 64 bytes, SHA-512 over the statement, the binding and *all*
 * commitments. Every field is preceded by its length, so that no two transcripts have the same bytes.
 */
export function challengeOf(transcript: Transcript, commitments: readonly Uint8Array[]): Buffer {
  const { binding, algorithm, thumbprint, signingInput } = transcript
  const fixed = [binding.exporter, binding.proverCertificate, binding.verifierCertificate, thumbprint]
  assert(
    fixed.every((field) => field.length === 32),
    'exporter, fingerprints and thumbprint are 32 bytes each',
  )
  const hash = createHash('sha512')
  const fields = [LABEL, algorithm, binding.role, ...fixed, signingInput, ...commitments]
  for (const field of fields) {
    const bytes = typeof field === 'string' ? Buffer.from(field) : field
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  return hash.digest()
}
