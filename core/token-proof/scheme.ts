import type { JsonWebKey } from 'node:crypto'

/** A token's signing input, and the key that supposedly signed it. */
export interface Statement {
  signingInput: string
  /** A key from `canonicalKey`. */
  key: JsonWebKey
}

/** Turns a proof's commitments into its challenge: 64 bytes. */
export type Challenger = (commitments: readonly Uint8Array[]) => Buffer

/** One way of proving possession of a signature; one per signature algorithm. Bodies have no version byte. */
export interface ProofScheme {
  /**
   * Computes everything that depends only on the token.
   * @returns a function that makes a proof's body; every call draws fresh randomness
   */
  prepare(statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer
  /** @throws TokenProofError if the proof is wrong */
  verify(statement: Statement, body: Buffer, challenger: Challenger): void
}
