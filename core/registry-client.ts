import { type LookupFunction, Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import { clockAheadSeconds } from './clock-skew.ts'
import { connectorOf } from './connector.ts'
import type { Digest } from './digest.ts'
import { ShoalError } from './errors.ts'
import { fairly, RegistryBusyError } from './fair-pool.ts'
import { Agent, Pool } from './http-dispatchers.ts'
import { guardedLookup, judgeRedirect } from './redirect-rule.ts'
import type { RegistryConfig } from './registry-config.ts'
import { RegistryTrust, SharedContext } from './registry-trust.ts'
import { type RegistryHost, type Repository, registryAddress } from './repository.ts'
import { failureText } from './trusted-authorities.ts'
import type { UpstreamProxy } from './upstream-proxy.ts'
import { withUserAgent } from './user-agent.ts'

/** The registry did not answer in time over a verified connection: try later, or use the blobs that the cluster holds. */
export class RegistryUnreachableError extends ShoalError {
  readonly code = 'REGISTRY_UNREACHABLE'
  /** False: this process has too many requests in flight to ask, so the registry's state is unknown; ask it otherwise. */
  readonly wasAsked: boolean

  constructor(message: string, options: { cause?: unknown; wasAsked?: boolean } = {}) {
    super(message, options)
    this.wasAsked = options.wasAsked ?? true
  }
}

/**
 * A registry's answer to a HEAD request for a blob. A redirect counts as present with unknown length. It shows that this
 * caller may have the blob only if the registry refuses strangers (`Strangers`).
 */
export type BlobHead =
  | { isPresent: true; bytes: number | undefined; isRedirect: boolean }
  | { isPresent: false; status: number }

/**
 * One configured registry, over HTTPS with a verified certificate. The proxy, the client and the tracker talk to
 * registries only through this.
 */
export interface RegistryClient {
  readonly host: RegistryHost
  readonly kind: 'token' | 'introspect' | 'none'
  readonly config: RegistryConfig
  /** For this process's own requests, without bodies. A keep-alive pool that never follows redirects. */
  readonly dispatcher: Dispatcher
  /**
   * For requests of others, passed on unchanged. They cannot take this process's own connections, or each other's. A
   * request with a body has its own connection, which ends with the answer: a registry that does not read a body would
   * take it for the next caller's request (RFC 9112 §11.2).
   */
  readonly passThrough: Dispatcher
  /**
   * For following a blob's redirect after `isRedirectPermitted(url, config)` returned true. Refuses names that resolve to
   * forbidden addresses (RedirectRefusedError), verifies certificates, and follows no further redirect.
   */
  readonly redirectDispatcher: Dispatcher
  /**
   * Uses connections of its own.
   * @throws RegistryUnreachableError if there is no answer within `headPatienceMs`, including all waiting
   */
  headBlob(request: BlobHeadRequest): Promise<BlobHead>
  /**
   * Makes one connection, verifies the registry's certificate, and closes it again.
   * @throws what a request would meet (`registryFailure` tells what kind it is); ClientCertificateError
   */
  verify(): Promise<void>
  /** By how much this machine's clock is ahead of the registry's; a hint for words (core/clock-skew.ts). */
  clockAheadSeconds(): Promise<number | undefined>
  close(): Promise<void>
}

export interface BlobHeadRequest {
  repository: Repository
  digest: Digest
  /** The value of the Authorization header, sent to this registry and nowhere else. */
  authorization: string | undefined
  signal?: AbortSignal
}

export type RegistryClients = ReadonlyMap<RegistryHost, RegistryClient>

/** Connections to one registry for leases, and as many for forwarded requests: Docker opens 3 per pull. */
export const REGISTRY_CONNECTIONS_MAX = 64
/** Connections to one registry for HEAD requests: 1,280 requests a second if an answer takes 50 ms. */
export const HEAD_CONNECTIONS_MAX = 64
/** Connections to one registry for requests with a body: `docker push` has five at a time. */
export const UPLOAD_CONNECTIONS_MAX = 32
/** Connections to all storage hosts that a registry redirects to; usually there is one. */
export const REDIRECT_CONNECTIONS_MAX = 32
/** From the first packet of a connection to the end of its TLS handshake. */
const CONNECT_PATIENCE_MS = 10_000
/** A pull waits for this answer, at the proxy and at the tracker. Includes the wait for a connection. */
const HEAD_PATIENCE_MS = 10_000
/** How long a HEAD request waits for a connection. After that the registry is asked in another way. */
const HEAD_WAIT_MS = 2_000
/** How long a registry, or the sender of a body, may be silent while others wait for its connection. */
const SILENT_MS_MAX = 10_000
/** How long any other request waits for a connection: longer than it takes to end stalled transfers. */
const CONNECTION_WAIT_MS = 15_000
/** Long, because the pool is also used for pushes: a registry may copy and hash a whole blob before it answers. */
const HEADERS_PATIENCE_MS = 300_000
/** A transfer ends if the registry sends nothing for this long in the middle of a body. */
const BODY_IDLE_MS = 60_000
/** Shorter than the idle time of common load balancers (60 s). */
const KEEP_ALIVE_MS = 30_000

/** What all registries have in common on this machine. */
export interface RegistrySurroundings {
  /** Folders with one folder per registry, as Docker's `certs.d`; default none. */
  certsDirs?: readonly string[]
  proxy?: UpstreamProxy | undefined
  /** For tests and for callers with less patience; milliseconds. */
  headPatienceMs?: number
  /** Resolves the registry's name; default: the system's resolver. */
  lookup?: LookupFunction
}

/**
 * Opens a client for every configured registry; it connects when needed.
 * @throws RegistryFileError if a `caFile` cannot be read, AuthorityBundleError if it has no certificates
 */
export function openRegistries(
  configs: RegistryConfig[],
  surroundings: RegistrySurroundings = {},
): RegistryClients {
  const shared = new SharedContext()
  const clients = configs.map((config) => {
    const trust = new RegistryTrust(config, surroundings.certsDirs ?? [], { shared })
    return new HttpsRegistry(config, trust, surroundings)
  })
  return new Map(clients.map((client) => [client.host, client]))
}

export async function closeRegistries(registries: RegistryClients): Promise<void> {
  await Promise.all([...registries.values()].map((registry) => registry.close()))
}

class HttpsRegistry implements RegistryClient {
  readonly config: RegistryConfig
  readonly dispatcher: Dispatcher
  readonly passThrough: Dispatcher
  readonly redirectDispatcher: Dispatcher
  readonly #heads: Pool
  readonly #headDispatcher: Dispatcher
  readonly #pools: (Pool | Agent)[]
  readonly #headPatienceMs: number
  readonly #proxy: UpstreamProxy | undefined
  readonly #verifying = new Set<Socket>()
  readonly #trust: RegistryTrust
  readonly #connect: ReturnType<typeof connectorOf>

  constructor(config: RegistryConfig, trust: RegistryTrust, surroundings: RegistrySurroundings) {
    const { headPatienceMs, lookup, proxy } = surroundings
    this.config = config
    this.#proxy = proxy
    this.#trust = trust
    this.#headPatienceMs = headPatienceMs ?? HEAD_PATIENCE_MS
    const way = { timeout: CONNECT_PATIENCE_MS, proxy }
    const context = () => trust.contexts().registry
    const connect = connectorOf({ ...way, context, ...(lookup && { lookup }) })
    this.#connect = connect
    const bounds = {
      headersTimeout: HEADERS_PATIENCE_MS,
      bodyTimeout: BODY_IDLE_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
    }
    const pool = (connections: number) =>
      new Pool(`https://${config.host}`, { ...bounds, connections, connect })
    const patience = { waitMs: CONNECTION_WAIT_MS, silentMs: SILENT_MS_MAX }
    const shared = { ...patience, placesMax: REGISTRY_CONNECTIONS_MAX }
    const own = pool(REGISTRY_CONNECTIONS_MAX)
    const passed = pool(REGISTRY_CONNECTIONS_MAX)
    const uploads = pool(UPLOAD_CONNECTIONS_MAX)
    this.#heads = pool(HEAD_CONNECTIONS_MAX)
    this.dispatcher = own.compose(withUserAgent(), fairly(shared))
    this.passThrough = passed.compose(
      fairly(shared),
      withBodiesApart(uploads.compose(fairly({ ...patience, placesMax: UPLOAD_CONNECTIONS_MAX }))),
    )
    this.#headDispatcher = this.#heads.compose(
      withUserAgent(),
      fairly({ ...patience, placesMax: HEAD_CONNECTIONS_MAX, waitMs: HEAD_WAIT_MS }),
    )
    const redirects = new Agent({
      ...bounds,
      connections: REDIRECT_CONNECTIONS_MAX,
      connect: connectorOf({
        ...way,
        context: () => trust.contexts().elsewhere,
        lookup: guardedLookup(config),
        judge: (host, addresses) => judgeRedirect(config, host, addresses),
      }),
    })
    this.redirectDispatcher = redirects.compose(
      withUserAgent(),
      fairly({ ...patience, placesMax: REDIRECT_CONNECTIONS_MAX }),
    )
    this.#pools = [own, passed, uploads, this.#heads, redirects]
  }

  get host(): RegistryHost {
    return this.config.host
  }

  get kind(): RegistryConfig['kind'] {
    return this.config.kind
  }

  async headBlob(request: BlobHeadRequest): Promise<BlobHead> {
    request.signal?.throwIfAborted()
    const end = new AbortController()
    const give = () => end.abort(request.signal?.reason)
    const timer = setTimeout(() => end.abort(new Error('no answer in time')), this.#headPatienceMs)
    request.signal?.addEventListener('abort', give)
    try {
      return await orAborted(this.#askHead(request, end.signal), end.signal)
    } catch (cause) {
      request.signal?.throwIfAborted()
      // If there is no connection at all, the holders of the places wait for the registry too: it was asked.
      const wasAsked = !(cause instanceof RegistryBusyError) || this.#heads.stats.connected === 0
      const why = failureText(cause as Error, 'caFile')
      throw new RegistryUnreachableError(`no answer from the registry ${this.host}: ${why}`, {
        cause,
        wasAsked,
      })
    } finally {
      clearTimeout(timer)
      request.signal?.removeEventListener('abort', give)
    }
  }

  async #askHead(request: BlobHeadRequest, signal: AbortSignal): Promise<BlobHead> {
    const answer = await this.#headDispatcher.request({
      method: 'HEAD',
      // By default undici closes the connection after a HEAD, which would cost a TLS handshake per blob.
      reset: false,
      path: `/v2/${request.repository}/blobs/${request.digest}`,
      headers: request.authorization === undefined ? {} : { authorization: request.authorization },
      signal,
    })
    await answer.body.dump()
    return blobHeadFrom(answer)
  }

  verify(): Promise<void> {
    const { unusable } = this.#trust.contexts()
    if (unusable !== undefined) return Promise.reject(unusable)
    const { host, port } = registryAddress(this.host)
    const target = { hostname: host, host: this.host, protocol: 'https:', port: String(port) }
    return new Promise((resolve, reject) => {
      const dialled: unknown = this.#connect(target, (error, socket) => {
        if (error !== null) return reject(error)
        socket.destroy()
        resolve()
      })
      if (!(dialled instanceof Socket)) return
      this.#verifying.add(dialled)
      dialled.once('close', () => this.#verifying.delete(dialled))
    })
  }

  clockAheadSeconds(): Promise<number | undefined> {
    const context = this.#trust.contexts().elsewhere
    return clockAheadSeconds(registryAddress(this.host), { context, proxy: this.#proxy })
  }

  async close(): Promise<void> {
    for (const socket of this.#verifying) socket.destroy()
    await Promise.all(this.#pools.map((pool) => pool.destroy()))
  }
}

/** undici obeys a signal only once the request has a connection. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    work.then(resolve, reject)
    // Later, so that an error of undici or of the wait for a connection comes first.
    signal.addEventListener('abort', () => setImmediate(() => reject(signal.reason)), { once: true })
  })
}

/** Gives each request with a body its own connection. */
function withBodiesApart(uploads: Dispatcher): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) =>
    options.body == null ? dispatch(options, handler) : uploads.dispatch({ ...options, reset: true }, handler)
}

/** 200 with Content-Length, else absent (OCI distribution-spec, "Checking if content exists in the registry"). */
function blobHeadFrom({
  statusCode,
  headers,
}: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>): BlobHead {
  if ([301, 302, 303, 307, 308].includes(statusCode))
    return { isPresent: true, bytes: undefined, isRedirect: true }
  if (statusCode !== 200) return { isPresent: false, status: statusCode }
  const length = headers['content-length']
  const isLength = typeof length === 'string' && /^\d{1,15}$/.test(length)
  return { isPresent: true, bytes: isLength ? Number(length) : undefined, isRedirect: false }
}
