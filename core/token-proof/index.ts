import type { JsonWebKey } from 'node:crypto'

export interface ProofBinding {
  role: 'dialler' | 'acceptor'
  exporter: Buffer
  proverCertificate: Buffer
  verifierCertificate: Buffer
}
export interface TokenProver {
  readonly signingInput: string
  prove(binding: ProofBinding): Buffer
}
export function prepareProver(_jwt: string, _key: JsonWebKey): TokenProver {
  throw new Error('under construction')
}
export function verifyTokenProof(_presented: {
  signingInput: string
  proof: Buffer
  key: JsonWebKey
  binding: ProofBinding
}): void {
  throw new Error('under construction')
}
