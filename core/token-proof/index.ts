import type { JsonWebKey } from 'node:crypto'
import { isSignedBy, parseRegistryToken, parseSigningInput, type SignedClaims } from '../registry-token.ts'
import {
  canonicalKey,
  publicKeyFor,
  RSA_BITS_MAX,
  type TokenAlgorithm,
  thumbprintOf,
} from '../token-algorithms.ts'
import { es256, es384 } from './ecdsa.ts'
import { eddsa } from './eddsa.ts'
import { TokenProofError, TokenProofUnsupportedError } from './errors.ts'
import { ROUNDS, rs256, rs384, rs512 } from './guillou-quisquater.ts'
import type { Challenger, ProofScheme, Statement } from './scheme.ts'
import { challengeOf, type ProofBinding } from './transcript.ts'

export { TokenProofError, TokenProofUnsupportedError } from './errors.ts'
export type { ProofBinding } from './transcript.ts'

/**
 * Zero-knowledge proofs that their maker holds the registry's signature over a token, bound to one TLS connection
 * (docs/decisions/0002-token-proof.md has statement, transcript and argument).
 * A proof is a version byte and the scheme's body; the key decides its length.
 */
const VERSION = 1

/** Bound of a proof: version, and sixteen numbers as long as the longest RSA modulus (4096 bits). */
export const PROOF_BYTES_MAX = 1 + (2 * ROUNDS * RSA_BITS_MAX) / 8

/** ES512 has none: no registry is known to use it, and P-521 would cost more than 10 ms. It needs introspection. */
const SCHEMES: Partial<Record<TokenAlgorithm, ProofScheme>> = {
  ES256: es256,
  ES384: es384,
  EdDSA: eddsa,
  RS256: rs256,
  RS384: rs384,
  RS512: rs512,
}

/** Makes proofs for one token. It contains the token's signature, so keep it no longer than the pull. */
export interface TokenProver {
  /** Sent with every proof. */
  readonly signingInput: string
  /** A fresh proof for one connection; never the same bytes twice. */
  prove(binding: ProofBinding): Buffer
}

export interface PresentedProof {
  signingInput: string
  proof: Buffer
  /** The trusted key for this token (`TokenKeys.keyFor`), never the one that it embeds. */
  key: JsonWebKey
  binding: ProofBinding
}

/**
 * Computes everything that depends only on the token, once for all its proofs.
 * @throws RegistryTokenError, TokenProofError if `key` did not sign the token, TokenProofUnsupportedError
 */
export function prepareProver(jwt: string, key: JsonWebKey): TokenProver {
  const token = parseRegistryToken(jwt)
  const scheme = schemeFor(token)
  const statement = statementOf(token, key)
  if (!isSignedBy(token, statement.key)) throw new TokenProofError('the token is not signed by this key')
  const makeBody = scheme.prepare(statement, token.signature)
  const challengerFor = challengers(token, statement)
  return {
    signingInput: token.signingInput,
    prove: (binding) => Buffer.concat([Buffer.of(VERSION), makeBody(challengerFor(binding))]),
  }
}

/**
 * Accepts a proof, or throws. Does not check what the token grants or when it ends: the caller checks that.
 * @throws TokenProofError, RegistryTokenError, TokenProofUnsupportedError: refuse the connection for each of them
 */
export function verifyTokenProof({ signingInput, proof, key, binding }: PresentedProof): void {
  if (proof.length > PROOF_BYTES_MAX || proof[0] !== VERSION) {
    throw new TokenProofError('a proof of unknown version or size')
  }
  const token = parseSigningInput(signingInput)
  const statement = statementOf(token, key)
  schemeFor(token).verify(statement, proof.subarray(1), challengers(token, statement)(binding))
}

function schemeFor({ algorithm }: SignedClaims): ProofScheme {
  const scheme = SCHEMES[algorithm]
  if (scheme === undefined)
    throw new TokenProofUnsupportedError(`no proof for tokens signed with ${algorithm}`)
  return scheme
}

function statementOf(token: SignedClaims, jwk: JsonWebKey): Statement {
  const key = canonicalKey(jwk)
  if (key === undefined || publicKeyFor(token.algorithm, key) === undefined) {
    throw new TokenProofError("the key does not fit the token's algorithm")
  }
  return { signingInput: token.signingInput, key }
}

function challengers(
  token: SignedClaims,
  { key, signingInput }: Statement,
): (binding: ProofBinding) => Challenger {
  const thumbprint = thumbprintOf(key)
  return (binding) => (commitments) =>
    challengeOf({ binding, algorithm: token.algorithm, thumbprint, signingInput }, commitments)
}
