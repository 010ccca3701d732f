import type { Dispatcher } from 'undici'
import type { Digest } from './digest.ts'
import { ShoalError } from './errors.ts'
import { Agent, Pool } from './http-dispatchers.ts'
import { guardedLookup } from './redirect-rule.ts'
import { type RegistryConfig, readRegistryFile } from './registry-config.ts'
import type { RegistryHost, Repository } from './repository.ts'
import { trustingContext } from './trusted-authorities.ts'

/** The registry gave no answer in time, or not over a connection that verifies: try later, or use what the cluster holds. */
export class RegistryUnreachableError extends ShoalError {
  readonly code = 'REGISTRY_UNREACHABLE'
}

/** A registry's answer to a HEAD request for a blob. A redirect counts as present; its length is then unknown. */
export type BlobHead = { isPresent: true; bytes: number | undefined } | { isPresent: false; status: number }

/**
 * One configured registry, over HTTPS with its certificate verified. The one place from which the proxy, the client
 * and the tracker talk to registries.
 */
export interface RegistryClient {
  readonly host: RegistryHost
  readonly kind: 'token' | 'introspect' | 'none'
  readonly config: RegistryConfig
  /** Keep-alive pool of the registry's origin; never follows redirects. */
  readonly dispatcher: Dispatcher
  /**
   * For following a blob's redirect, once `isRedirectPermitted(url, config)` said yes: refuses names that resolve to
   * forbidden addresses (RedirectRefusedError), verifies certificates, follows no further redirect by itself.
   */
  readonly redirectDispatcher: Dispatcher
  /** @throws RegistryUnreachableError when there is no answer within `headPatienceMs` */
  headBlob(request: BlobHeadRequest): Promise<BlobHead>
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

/** Connections to one registry: Docker opens 3 per pull; leases and pass-through share the rest. */
export const REGISTRY_CONNECTIONS_MAX = 64
/** Connections to one storage host that a registry redirects to. */
export const REDIRECT_CONNECTIONS_MAX = 32
/** From the first packet of a connection to the end of its TLS handshake. */
const CONNECT_PATIENCE_MS = 10_000
/** A pull waits for this answer, at the proxy and at the tracker. */
const HEAD_PATIENCE_MS = 10_000
/** Long, because the same pool carries pushes: a registry may copy and hash a whole blob before it answers. */
const HEADERS_PATIENCE_MS = 300_000
/** A registry that sends nothing for so long in the middle of a body is given up. */
const BODY_IDLE_MS = 60_000
/** Shorter than the idle time of common load balancers (60 s). */
const KEEP_ALIVE_MS = 30_000

/** For tests and for callers with less patience; milliseconds. */
export interface RegistryPatience {
  headPatienceMs?: number
}

/**
 * Opens a client for every configured registry; connections are made when they are needed.
 * @throws RegistryFileError when a `caFile` cannot be read, AuthorityBundleError when it holds no certificates
 */
export function openRegistries(configs: RegistryConfig[], patience: RegistryPatience = {}): RegistryClients {
  const shared = configs.some((config) => config.caFile === undefined) ? trustingContext() : undefined
  const clients = configs.map((config) => {
    const secureContext =
      config.caFile === undefined
        ? shared
        : trustingContext(readRegistryFile(config.caFile, 'caFile'), `caFile: ${config.caFile}`)
    return new HttpsRegistry(config, { secureContext }, patience.headPatienceMs ?? HEAD_PATIENCE_MS)
  })
  return new Map(clients.map((client) => [client.host, client]))
}

class HttpsRegistry implements RegistryClient {
  readonly config: RegistryConfig
  readonly dispatcher: Pool
  readonly redirectDispatcher: Agent
  readonly #headPatienceMs: number

  constructor(config: RegistryConfig, tls: object, headPatienceMs: number) {
    this.config = config
    this.#headPatienceMs = headPatienceMs
    // Said, because Node lets an environment variable change the default.
    const verified = { ...tls, rejectUnauthorized: true, timeout: CONNECT_PATIENCE_MS }
    const bounds = {
      headersTimeout: HEADERS_PATIENCE_MS,
      bodyTimeout: BODY_IDLE_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
    }
    this.dispatcher = new Pool(`https://${config.host}`, {
      ...bounds,
      connections: REGISTRY_CONNECTIONS_MAX,
      connect: verified,
    })
    this.redirectDispatcher = new Agent({
      ...bounds,
      connections: REDIRECT_CONNECTIONS_MAX,
      connect: { ...verified, lookup: guardedLookup(config) },
    })
  }

  get host(): RegistryHost {
    return this.config.host
  }

  get kind(): RegistryConfig['kind'] {
    return this.config.kind
  }

  async headBlob(request: BlobHeadRequest): Promise<BlobHead> {
    const patience = AbortSignal.timeout(this.#headPatienceMs)
    const signal = request.signal === undefined ? patience : AbortSignal.any([patience, request.signal])
    try {
      const answer = await this.dispatcher.request({
        method: 'HEAD',
        // undici closes the connection after a HEAD unless told otherwise; that would be a TLS handshake per blob.
        reset: false,
        path: `/v2/${request.repository}/blobs/${request.digest}`,
        headers: request.authorization === undefined ? {} : { authorization: request.authorization },
        signal,
      })
      await answer.body.dump()
      return blobHeadFrom(answer)
    } catch (cause) {
      request.signal?.throwIfAborted()
      throw new RegistryUnreachableError(`no answer from the registry ${this.host}`, { cause })
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.dispatcher.destroy(), this.redirectDispatcher.destroy()])
  }
}

/** OCI distribution-spec, "Checking if content exists in the registry": 200 with Content-Length, else absent. */
function blobHeadFrom({
  statusCode,
  headers,
}: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>): BlobHead {
  if ([301, 302, 303, 307, 308].includes(statusCode)) return { isPresent: true, bytes: undefined }
  if (statusCode !== 200) return { isPresent: false, status: statusCode }
  const length = headers['content-length']
  const isLength = typeof length === 'string' && /^\d{1,15}$/.test(length)
  return { isPresent: true, bytes: isLength ? Number(length) : undefined }
}
