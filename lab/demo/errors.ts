import { ShoalError } from '../../core/errors.ts'

/** The demonstration was called wrongly: print the hint. */
export class DemoUsageError extends ShoalError {
  readonly code = 'USAGE'
}
