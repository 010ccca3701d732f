import type { JsonWebKey } from 'node:crypto'

/** A token's signing input and the key that is said to have signed it. */
export interface Statement {
  signingInput: string
  /** What `canonicalKey` made. */
  key: JsonWebKey
}

/** Turns a proof's commitments into its challenge: 64 bytes. */
export type Challenger = (commitments: readonly Uint8Array[]) => Buffer

/** One way of proving possession of a signature; one per signature algorithm. Bodies have no version byte. */
export interface ProofScheme {
  /**
   * What depends on the token alone.
   * @returns makes a proof's body; every call draws fresh randomness
   */
  prepare(statement: Statement, signature: Buffer): (challenger: Challenger) => Buffer
  /** @throws TokenProofError when the proof does not hold */
  verify(statement: Statement, body: Buffer, challenger: Challenger): void
}
