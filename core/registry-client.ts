import { type LookupFunction, Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import { askBlob, type BlobHead, type BlobHeadRequest } from './blob-question.ts'
import { clockAheadSeconds } from './clock-skew.ts'
import { connectorOf } from './connector.ts'
import { ShoalError } from './errors.ts'
import { fairly, RegistryBusyError } from './fair-pool.ts'
import { Agent, Pool } from './http-dispatchers.ts'
import { tolerantly } from './lenient-dispatcher.ts'
import { untilAborted } from './patience.ts'
import { guardedLookup, judgeRedirect } from './redirect-rule.ts'
import type { RegistryConfig } from './registry-config.ts'
import { RegistryHabits } from './registry-habits.ts'
import { noting, RegistryLimit } from './registry-limit.ts'
import { RegistryTrust, SharedContext } from './registry-trust.ts'
import { type RegistryHost, registryAddress } from './repository.ts'
import { failureText } from './trusted-authorities.ts'
import type { UpstreamProxy } from './upstream-proxy.ts'
import { withUserAgent } from './user-agent.ts'

/** The registry did not answer in time over a verified connection: try later, or use the blobs that the cluster holds. */
export class RegistryUnreachableError extends ShoalError {
  readonly code = 'REGISTRY_UNREACHABLE'
  /** False: this process has too many requests in flight to ask, so the registry's state is unknown; ask it otherwise. */
  readonly wasAsked: boolean

  constructor(host: RegistryHost, { cause, wasAsked = true }: { cause: Error; wasAsked?: boolean }) {
    super(`no answer from the registry ${host}: ${failureText(cause, 'caFile')}`, { cause })
    this.wasAsked = wasAsked
  }
}

/**
 * One configured registry, over HTTPS with a verified certificate. The proxy, the client and the tracker talk to
 * registries only through this.
 */
export interface RegistryClient {
  readonly host: RegistryHost
  /** What stands before `/v2/` in its URLs, as configured; default nothing. */
  readonly apiPath?: string
  /** As configured. Only `none` matters: all else is found per pull. */
  readonly kind: RegistryConfig['kind']
  readonly config: RegistryConfig
  /** What its answers showed it to do differently. */
  readonly habits: RegistryHabits
  /** Whether the registry told this process to wait (429). Whoever makes requests of its own asks and notes. */
  readonly limit: RegistryLimit
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
  /** This process shows the registry a client certificate: what it may have is not what a caller, or a stranger, may have. */
  readonly hasIdentity?: boolean
  /**
   * Whether the registry would serve a blob to the sender of this credential, and its length. Uses connections of its own.
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
  /**
   * Reads what these settings name, for the same host. @returns what makes them count, from the next request on
   * @throws RegistryFileError, AuthorityBundleError; nothing is changed then
   */
  prepare(config: RegistryConfig): () => void
  close(): Promise<void>
}

export type RegistryClients = ReadonlyMap<RegistryHost, RegistryClient>

/** Connections to one registry for leases, and as many for forwarded requests: Docker opens 3 per pull. */
export const REGISTRY_CONNECTIONS_MAX = 64
/** Connections to one registry for questions about blobs (HEAD, or GET of one byte): 1,280 requests a second if an answer takes 50 ms. */
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
/**
 * Docker waits without end. A registry may copy and hash a whole blob before it answers a push, and a cache may fetch a whole
 * blob from behind before it answers a GET.
 */
export const HEADERS_PATIENCE_MS = 15 * 60_000
/** A transfer ends if the registry sends nothing for this long in the middle of a body. Others who wait end it earlier. */
export const BODY_IDLE_MS = 5 * 60_000
/** Headers of one answer: policies and signed URLs of 64 KiB, and the rest. Go's bound is 10 MiB. */
export const ANSWER_HEADER_BYTES_MAX = 128 * 1024
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
  const trustOf = (config: RegistryConfig) =>
    new RegistryTrust(config, surroundings.certsDirs ?? [], { shared })
  const clients = configs.map((config) => new HttpsRegistry(config, trustOf, surroundings))
  return new Map(clients.map((client) => [client.host, client]))
}

export async function closeRegistries(registries: RegistryClients): Promise<void> {
  await Promise.all([...registries.values()].map((registry) => registry.close()))
}

class HttpsRegistry implements RegistryClient {
  readonly limit = new RegistryLimit()
  config: RegistryConfig
  readonly habits: RegistryHabits
  readonly dispatcher: Dispatcher
  readonly passThrough: Dispatcher
  readonly redirectDispatcher: Dispatcher
  readonly #heads: Pool
  readonly #headDispatcher: Dispatcher
  readonly #pools: (Pool | Agent)[]
  readonly #headPatienceMs: number
  readonly #proxy: UpstreamProxy | undefined
  readonly #verifying = new Set<Socket>()
  readonly #trustOf: (config: RegistryConfig) => RegistryTrust
  #trust: RegistryTrust
  readonly #connect: ReturnType<typeof connectorOf>

  constructor(
    config: RegistryConfig,
    trustOf: (config: RegistryConfig) => RegistryTrust,
    surroundings: RegistrySurroundings,
  ) {
    const { headPatienceMs, lookup, proxy } = surroundings
    this.config = config
    this.habits = new RegistryHabits(config.host)
    this.#proxy = proxy
    this.#trustOf = trustOf
    this.#trust = trustOf(config)
    this.#headPatienceMs = headPatienceMs ?? HEAD_PATIENCE_MS
    const dialling = { timeout: CONNECT_PATIENCE_MS, proxy }
    const context = () => this.#trust.contexts().registry
    const connect = connectorOf({ ...dialling, context, ...(lookup && { lookup }) })
    this.#connect = connect
    const bounds = {
      headersTimeout: HEADERS_PATIENCE_MS,
      bodyTimeout: BODY_IDLE_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: ANSWER_HEADER_BYTES_MAX,
    }
    const origin = `https://${config.host}`
    const pool = (connections: number) => new Pool(origin, { ...bounds, connections, connect })
    const lenient = { origin, silentMsMax: BODY_IDLE_MS, headerBytesMax: ANSWER_HEADER_BYTES_MAX }
    const tolerant = () => tolerantly({ ...lenient, connect })
    const patience = { waitMs: CONNECTION_WAIT_MS, silentMs: SILENT_MS_MAX }
    const shared = { ...patience, placesMax: REGISTRY_CONNECTIONS_MAX }
    const own = pool(REGISTRY_CONNECTIONS_MAX)
    const passed = pool(REGISTRY_CONNECTIONS_MAX)
    const uploads = pool(UPLOAD_CONNECTIONS_MAX)
    this.#heads = pool(HEAD_CONNECTIONS_MAX)
    this.dispatcher = own.compose(tolerant(), noting(this.limit), withUserAgent(), fairly(shared))
    this.passThrough = passed.compose(
      tolerant(),
      fairly(shared),
      withBodiesApart(uploads.compose(fairly({ ...patience, placesMax: UPLOAD_CONNECTIONS_MAX }))),
    )
    this.#headDispatcher = this.#heads.compose(
      tolerant(),
      noting(this.limit),
      withUserAgent(),
      fairly({ ...patience, placesMax: HEAD_CONNECTIONS_MAX, waitMs: HEAD_WAIT_MS }),
    )
    const elsewhere = connectorOf({
      ...dialling,
      context: () => this.#trust.contexts().elsewhere,
      lookup: (...asked) => guardedLookup(this.config)(...asked),
      judge: (host, addresses) => judgeRedirect(this.config, host, addresses),
    })
    const redirects = new Agent({
      ...bounds,
      connections: REDIRECT_CONNECTIONS_MAX,
      connect: elsewhere,
    })
    this.redirectDispatcher = redirects.compose(
      tolerantly({ ...lenient, connect: elsewhere }),
      withUserAgent(),
      fairly({ ...patience, placesMax: REDIRECT_CONNECTIONS_MAX }),
    )
    this.#pools = [own, passed, uploads, this.#heads, redirects]
  }

  get host(): RegistryHost {
    return this.config.host
  }

  get apiPath(): string {
    return this.config.apiPath ?? ''
  }

  get kind(): RegistryConfig['kind'] {
    return this.config.kind
  }

  get hasIdentity(): boolean {
    const { registry, elsewhere } = this.#trust.contexts()
    return registry !== elsewhere
  }

  async headBlob(request: BlobHeadRequest): Promise<BlobHead> {
    request.signal?.throwIfAborted()
    const end = new AbortController()
    const give = () => end.abort(request.signal?.reason)
    const timer = setTimeout(() => end.abort(new Error('no answer in time')), this.#headPatienceMs)
    request.signal?.addEventListener('abort', give)
    const parts = { dispatcher: this.#headDispatcher, habits: this.habits, apiPath: this.apiPath }
    try {
      return await untilAborted(askBlob(parts, request, end.signal), end.signal)
    } catch (cause) {
      request.signal?.throwIfAborted()
      // If there is no connection at all, the holders of the places wait for the registry too: it was asked.
      const wasAsked = !(cause instanceof RegistryBusyError) || this.#heads.stats.connected === 0
      throw new RegistryUnreachableError(this.host, { cause: cause as Error, wasAsked })
    } finally {
      clearTimeout(timer)
      request.signal?.removeEventListener('abort', give)
    }
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

  prepare(config: RegistryConfig): () => void {
    const trust = this.#trustOf(config)
    return () => {
      this.config = config
      this.#trust = trust
    }
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

/** Gives each request with a body its own connection. */
function withBodiesApart(uploads: Dispatcher): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) =>
    options.body == null ? dispatch(options, handler) : uploads.dispatch({ ...options, reset: true }, handler)
}
