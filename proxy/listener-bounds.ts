import type { ShareBounds } from './user-shares.ts'

/** Bounds of whoever answers on the proxy's socket: the proxy itself, or the relay in its place. */

/** Connections to the proxy. Docker opens a handful per pull; the rest is for other programs that use tunnels. */
export const PROXY_CONNECTIONS_MAX = 1024
/** Connections of one local user other than root to the proxy. */
export const PROXY_CONNECTIONS_PER_USER_MAX = 256
/** Connections to the proxy that are reserved for root: dockerd and containerd run as root. */
export const PROXY_CONNECTIONS_OF_ROOT_MIN = 256
/** Headers of CONNECT and plain requests: as many as in intercepted requests, for long signed URLs of plain stores. */
export const HEADER_BYTES_MAX = 64 * 1024
/** A local client sends its CONNECT at once; this bounds a client that does not. */
export const HEADERS_PATIENCE_MS = 30_000

export const PROXY_SHARES: ShareBounds = {
  connectionsMax: PROXY_CONNECTIONS_MAX,
  perUserMax: PROXY_CONNECTIONS_PER_USER_MAX,
  rootReserve: PROXY_CONNECTIONS_OF_ROOT_MIN,
}
