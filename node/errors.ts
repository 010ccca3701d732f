import { ShoalError } from '../core/errors.ts'

/** The local API's socket cannot be used: stop the program. */
export class LocalSocketError extends ShoalError {
  readonly code = 'LOCAL_SOCKET'
}

/** A request to the local API is malformed: answer 400. */
export class LocalRequestError extends ShoalError {
  readonly code = 'LOCAL_REQUEST'
}

/** No pull on record is of that image: answer 404. */
export class PullNotRecordedError extends ShoalError {
  readonly code = 'PULL_NOT_RECORDED'
}

/** The node could not be paused or resumed: answer 503; commands print message and hint. */
export class PauseError extends ShoalError {
  readonly code = 'PAUSE'
}

/** The HTTP status of every error that the local API answers with; others are 500. */
export const LOCAL_STATUS_OF_CODE: Readonly<Record<string, number>> = {
  LOCAL_REQUEST: 400,
  NOT_FOUND: 404,
  PULL_NOT_RECORDED: 404,
  METHOD_NOT_ALLOWED: 405,
  PAUSE: 503,
  CACHE_UNKNOWN: 404,
  CACHE_PINS: 409,
  CONFIG: 409,
  REGISTRY_FILE: 409,
  AUTHORITY_BUNDLE: 409,
  TRUST_FILE: 409,
}
