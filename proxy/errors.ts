import { ShoalError } from '../core/errors.ts'

/** Other machines could reach a listener of the node: stop the program. */
export class ListenNotLoopbackError extends ShoalError {
  readonly code = 'LISTEN_NOT_LOOPBACK'
}

/** A file with the proxy's public authority cannot be written: stop the program. */
export class TrustFileError extends ShoalError {
  readonly code = 'TRUST_FILE'
}

/** A request is malformed, or asks for something that a proxy does not do: answer 400. */
export class ProxyRequestError extends ShoalError {
  readonly code = 'PROXY_REQUEST'
}

/** A request inside an intercepted connection names a host other than its CONNECT did: answer 421. */
export class MisdirectedRequestError extends ShoalError {
  readonly code = 'MISDIRECTED_REQUEST'
}

/** A client asks for a connection to the node itself or to a link-local or metadata address: answer 403. */
export class ConnectDeniedError extends ShoalError {
  readonly code = 'CONNECT_DENIED'
}

/** The host that a client wants to reach cannot be resolved or connected to: answer 502. */
export class TargetUnreachableError extends ShoalError {
  readonly code = 'TARGET_UNREACHABLE'
}

/** An upstream took the request and did not answer in time: answer 504. */
export class UpstreamTimeoutError extends ShoalError {
  readonly code = 'UPSTREAM_TIMEOUT'
}

/** A blob's reader ended before the last byte: cut the response. A defect of the client. */
export class BlobShortError extends ShoalError {
  readonly code = 'BLOB_SHORT'
}

/** A browser asked the mirror, or somebody under a foreign name (DNS rebinding): answer 403. */
export class MirrorCallerError extends ShoalError {
  readonly code = 'MIRROR_CALLER'
}

/** The mirror is asked for something other than a pull: answer 405. */
export class MirrorMethodError extends ShoalError {
  readonly code = 'MIRROR_METHOD'
}

/** The mirror does not stand for this registry or path: answer 404, which runtimes pass over on their way to the next host. */
export class MirrorTargetError extends ShoalError {
  readonly code = 'MIRROR_TARGET'
}

/** The registry must be used directly, because this process cannot, or may not for this caller: answer 503. */
export class MirrorUnusableError extends ShoalError {
  readonly code = 'MIRROR_UNUSABLE'
}

/** The admin listener or the local API has nothing at that path: answer 404. */
export class AdminPathError extends ShoalError {
  readonly code = 'NOT_FOUND'
}

/** The admin listener's pages are read only, or a call of the local API takes another method: answer 405. */
export class AdminMethodError extends ShoalError {
  readonly code = 'METHOD_NOT_ALLOWED'
}

/** A local user has reached the limit of connections, and may ask only for `/healthz`: answer 503. */
export class ConnectionsTooManyError extends ShoalError {
  readonly code = 'CONNECTIONS_TOO_MANY'
}

/** A browser reached the admin listener under a foreign name (DNS rebinding): answer 403. */
export class AdminHostError extends ShoalError {
  readonly code = 'ADMIN_HOST'
}
