import { ShoalError } from '../errors.ts'

/** The other side's proof does not hold, or is malformed: serve it nothing and close the connection. */
export class TokenProofError extends ShoalError {
  readonly code = 'TOKEN_PROOF'
}

/** No proof exists for this algorithm: such a token goes through introspection, or the pull to the registry. */
export class TokenProofUnsupportedError extends ShoalError {
  readonly code = 'TOKEN_PROOF_UNSUPPORTED'
}
