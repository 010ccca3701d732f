import { ShoalError } from '../../core/errors.ts'

/** A package cannot be built here: print message and hint. */
export class PackageError extends ShoalError {
  readonly code = 'PACKAGE'
}
