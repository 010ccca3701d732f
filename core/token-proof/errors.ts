import { ShoalError } from '../errors.ts'

/** The other side's proof is wrong or malformed: serve it nothing and close the connection. */
export class TokenProofError extends ShoalError {
  readonly code = 'TOKEN_PROOF'
}

/** No proof exists for this algorithm: use introspection for the token, or send the pull to the registry. */
export class TokenProofUnsupportedError extends ShoalError {
  readonly code = 'TOKEN_PROOF_UNSUPPORTED'
}
