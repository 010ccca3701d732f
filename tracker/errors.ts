import { ShoalError } from '../core/errors.ts'

/**
 * Every reason for which the tracker refuses a request, with its HTTP status. The codes are stable (docs/errors.md), and
 * `refused` entries of a pull grant have them too.
 */
export const STATUS_BY_CODE = {
  // requests that no caller should make
  INVALID_INPUT: 400,
  BAD_JSON: 400,
  BAD_REQUEST: 400,
  BODY_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA: 415,
  ROUTE_UNKNOWN: 404,
  REQUESTS_TOO_MANY: 429,
  // who is asking
  CERTIFICATE_REQUIRED: 401,
  CERTIFICATE_REFUSED: 401,
  CERTIFICATE_KIND: 403,
  JOIN_REFUSED: 403,
  JOIN_TOKEN_EXPIRED: 403,
  JOIN_TOKEN_USED_UP: 403,
  JOIN_TOKEN_REVOKED: 403,
  KEY_MISMATCH: 403,
  NODE_REVOKED: 403,
  SUBJECT_REVOKED: 403,
  PULL_REVOKED: 403,
  // the registry credential
  REGISTRY_UNKNOWN: 404,
  CREDENTIAL_REQUIRED: 401,
  CREDENTIAL_UNEXPECTED: 400,
  CREDENTIAL_UNSUPPORTED: 400,
  CREDENTIAL_UNPROVEN: 403,
  TOKEN_MALFORMED: 401,
  TOKEN_ALGORITHM: 401,
  TOKEN_CRITICAL_HEADER: 401,
  TOKEN_KEY_UNTRUSTED: 401,
  TOKEN_SIGNATURE: 401,
  TOKEN_EXPIRED: 401,
  TOKEN_ISSUER: 401,
  TOKEN_AUDIENCE: 401,
  TOKEN_SCOPE: 403,
  // the blobs
  BLOB_NOT_IN_REPOSITORY: 404,
  BLOB_SIZE_MISMATCH: 409,
  BLOB_SIZE_UNPROVEN: 409,
  REGISTRY_REFUSED: 403,
  REGISTRY_LIMITED: 429,
  REGISTRY_UNREACHABLE: 503,
  // pulls and swarms
  CALLER_GONE: 499,
  PULL_UNKNOWN: 404,
  PULL_ENDED: 403,
  PULL_COMPLETE: 409,
  SWARM_UNKNOWN: 404,
  SWARM_BUSY: 429,
  SWARM_NOT_GRANTED: 403,
  TORRENT_PENDING: 404,
  TORRENT_UNKNOWN: 404,
  EPOCH_STALE: 409,
  LEASE_UNKNOWN: 409,
  HASH_CONFLICT: 409,
  MISMATCH_UNFOUNDED: 409,
  MISMATCH_TOO_OFTEN: 429,
  // the admin API
  LOGIN_REQUIRED: 401,
  LOGIN_REFUSED: 401,
  ROLE_TOO_LOW: 403,
  ADMIN_TOKEN_EXISTS: 409,
  ADMIN_TOKEN_UNKNOWN: 404,
  ADMIN_TOKENS_TOO_MANY: 409,
  CLUSTER_EXISTS: 409,
  CLUSTER_UNKNOWN: 404,
  NODE_UNKNOWN: 404,
  JOIN_TOKEN_UNKNOWN: 404,
  JOIN_TOKENS_TOO_MANY: 409,
  PAUSES_TOO_MANY: 409,
  REVOCATION_UNKNOWN: 404,
  TOKEN_KEY_UNKNOWN: 404,
  ROTATION_UNDER_WAY: 409,
  ROTATION_TOO_EARLY: 409,
  ROTATION_NONE: 409,
  UNLOCK_KEY: 403,
  RESTORE_NONE: 404,
  RESTORE_UNHEARD: 409,
  // whatever is asked
  TRACKER_LOCKED: 503,
  TRACKER_RESTORED: 503,
  STORE_UNAVAILABLE: 503,
  INTERNAL: 500,
} as const satisfies Record<string, number>

export type RefusalCode = keyof typeof STATUS_BY_CODE

/** The request is refused: answer with the code and its status. */
export class RefusedError extends ShoalError {
  readonly code: RefusalCode

  constructor(code: RefusalCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.code = code
  }
}

/** The caller is over its limit of requests: answer 429 with Retry-After. */
export class TooManyRequestsError extends RefusedError {
  readonly retryAfterSeconds: number

  constructor(retryAfterSeconds: number) {
    super('REQUESTS_TOO_MANY', 'too many requests')
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/** Another process changed the record first: read it again and decide again. */
export class StoreConflictError extends ShoalError {
  readonly code = 'STORE_CONFLICT'
}

/** What is to be imported or restored is no export or backup of a tracker, or damaged: nothing was stored. */
export class StoreDumpError extends ShoalError {
  readonly code = 'STORE_DUMP'
}

/** The database does not answer, or takes no connection: the request may be repeated, here or at another tracker. */
export class StoreUnavailableError extends ShoalError {
  readonly code = 'STORE_UNAVAILABLE'
}

/** A newer Shoal made the store, or the file is not a store: do not start. */
export class StoreUnusableError extends ShoalError {
  readonly code = 'STORE_UNUSABLE'
}

/** The unlock key is missing or malformed, or did not seal this store: do not start. */
export class UnlockKeyError extends ShoalError {
  readonly code = 'UNLOCK_KEY'
}

/** A sealed value was altered or moved: do not use it. */
export class UnsealError extends ShoalError {
  readonly code = 'UNSEAL'
}

/** A balancer began a connection with something else than a PROXY header, or with nothing: end the connection. */
export class ProxyHeaderMissingError extends ShoalError {
  readonly code = 'PROXY_HEADER_MISSING'
}

/** A balancer sent a PROXY header that is none, or too long: end the connection. */
export class ProxyHeaderMalformedError extends ShoalError {
  readonly code = 'PROXY_HEADER_MALFORMED'
}
