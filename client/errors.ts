import { ShoalError } from '../core/errors.ts'

/** A peer broke the wire protocol: close the connection and ban the peer for this swarm. */
export class PeerProtocolError extends ShoalError {
  readonly code = 'PEER_PROTOCOL'
}

/** A peer has no right to what it requests (certificate, proof, token): close the connection, serve nothing. */
export class PeerRefusedError extends ShoalError {
  readonly code = 'PEER_REFUSED'
}

/** The connection broke, or the other side ended it: nothing is known against the peer. Dial it again. */
export class PeerLostError extends PeerProtocolError {}

/** A certificate or key behind the connection has ended or was withdrawn, and the peer may have another: dial it again. */
export class PeerOutdatedError extends PeerRefusedError {}

/** A peer sent a piece that does not match its signed hash: ban it for this swarm and report it. */
export class PieceCorruptError extends ShoalError {
  readonly code = 'PIECE_CORRUPT'
}

/** The tracker does not answer, or its answer was unreadable: go to the registry. */
export class TrackerUnavailableError extends ShoalError {
  readonly code = 'TRACKER_UNAVAILABLE'
  /** Of a tracker that answers and cannot serve, such as a locked one. */
  readonly trackerCode: string | undefined

  constructor(message: string, { trackerCode, ...options }: { trackerCode?: string; cause?: unknown } = {}) {
    super(message, options)
    this.trackerCode = trackerCode
  }
}

export type JoinFailure =
  | 'TRACKER_UNREACHABLE'
  | 'TRACKER_PIN'
  | 'TRACKER_CERTIFICATE'
  | 'CLOCK_SKEWED'
  | 'JOIN_OTHER_CLUSTER'
  | 'JOIN_REFUSED'
  | 'JOIN_TOKEN_EXPIRED'
  | 'JOIN_TOKEN_USED_UP'
  | 'JOIN_TOKEN_REVOKED'
  | 'NODE_REVOKED'
  | 'TRACKER_BUSY'
  | 'NODE_RUNNING'

/** `shoal join` or `shoal leave` failed: nothing was changed on this machine. */
export class JoinFailedError extends ShoalError {
  readonly code: JoinFailure

  /** Scripts see the code in the message. */
  constructor(code: JoinFailure, message: string, options: { cause?: unknown; hint: string }) {
    super(`${message} (${code})`, options)
    this.code = code
  }
}

/** The tracker answers but has not verified the pull in time, as it waits for the registry: go to the registry. */
export class GrantLateError extends ShoalError {
  readonly code = 'GRANT_LATE'
}

/** The tracker refused a call; `trackerCode` is its reason. For a pull: go to the registry. */
export class TrackerRefusedError extends ShoalError {
  readonly code = 'TRACKER_REFUSED'
  readonly trackerCode: string
  readonly status: number

  constructor(message: string, answer: { trackerCode: string; status: number }) {
    super(`${message}: ${answer.trackerCode}`)
    this.trackerCode = answer.trackerCode
    this.status = answer.status
  }
}

/** Neither the swarm nor the registry yields the bytes: end the response short. */
export class BlobUnavailableError extends ShoalError {
  readonly code = 'BLOB_UNAVAILABLE'
}

/** Nothing of the blob moves any more, neither from peers nor from the registry: the reader gets the rest straight from the registry. */
export class SwarmStalledError extends ShoalError {
  readonly code = 'SWARM_STALLED'
}

/**
 * The swarm's copy of the blob did not match its digest: end the response short; the digest bypasses the swarm for a
 * while.
 */
export class BlobDistrustedError extends ShoalError {
  readonly code = 'BLOB_DISTRUSTED'
}

/** The registry refuses to serve the blob to this node's token (any more). */
export class OriginRefusedError extends ShoalError {
  readonly code = 'ORIGIN_REFUSED'
  /** The status of the registry's refusal; undefined if an answer broke off. */
  readonly status: number | undefined
  /** The registry told this node to wait so long (429). */
  readonly retryInMs: number | undefined

  constructor(
    message: string,
    { status, retryInMs }: { status?: number; retryInMs?: number | undefined } = {},
  ) {
    super(message)
    this.status = status
    this.retryInMs = retryInMs
  }

  /** A refusal of the request itself, not of this moment (RFC 9110 §15.5; 408 and 429 are of the moment). */
  get isFinal(): boolean {
    const { status = 500 } = this
    return status < 500 && status !== 408 && status !== 429
  }
}

/** The registry answers a range request with the whole blob: one node must read it from the start. */
export class RangeIgnoredError extends ShoalError {
  readonly code = 'RANGE_IGNORED'
}

/** An operator blocked the blob, or the repository that it is asked for in: it comes from the registry, unshared. */
export class BlobBlockedError extends ShoalError {
  readonly code = 'BLOCKED'
}

/** Not enough room in the blob store: the blob comes from the registry, uncached. */
export class StoreFullError extends ShoalError {
  readonly code = 'STORE_FULL'
  readonly limit: 'cache' | 'disk'

  /** @param limit what is too small: `cacheBytesMax`, or the disk */
  constructor(message: string, limit: 'cache' | 'disk') {
    super(message)
    this.limit = limit
  }
}

/** Pinned blobs would take more than the cache has room for: nothing was pinned. */
export class CachePinsError extends ShoalError {
  readonly code = 'CACHE_PINS'

  constructor(message: string) {
    super(message, {
      hint: 'Raise cacheBytesMax, or unpin something; `shoal cache ls` shows what is pinned.',
    })
  }
}

/** No blob or image of that name is here, and none was seen: nothing was done. */
export class CacheUnknownError extends ShoalError {
  readonly code = 'CACHE_UNKNOWN'
}

/** The client is closing: ask the registry. */
export class ClientClosedError extends ShoalError {
  readonly code = 'CLIENT_CLOSED'
}

/** The blob left the store while it was in use: the rest comes from the registry. */
export class StoreClosedError extends ShoalError {
  readonly code = 'STORE_CLOSED'
}

/** A piece could not be written (disk full, disk broken): the rest comes from the registry, uncached. */
export class StoreWriteError extends ShoalError {
  readonly code = 'STORE_WRITE'
}

/** The local reader closed the blob while it waited: nothing more to do for it. */
export class ReadClosedError extends ShoalError {
  readonly code = 'READ_CLOSED'
}
