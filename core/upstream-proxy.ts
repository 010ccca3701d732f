import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { isIP, type Socket, connect as tcp } from 'node:net'
import { type SecureContext, connect as tls } from 'node:tls'
import { BoundedMap } from './bounded-map.ts'
import type { Conditions } from './conditions.ts'
import { ShoalError } from './errors.ts'
import { addressText } from './network.ts'
import { NoProxy } from './no-proxy.ts'
import { isSettledWithin } from './patience.ts'
import { trustingContext } from './trusted-authorities.ts'
import { shoalUserAgent } from './user-agent.ts'

/** The upstream proxy cannot be reached, or does not lead to a host: treat that host as unreachable. */
export class UpstreamProxyError extends ShoalError {
  readonly code = 'UPSTREAM_PROXY'
}

/** Where a proxy listens, and what it wants to know of its callers. */
export interface ProxyAddress {
  isTls: boolean
  host: string
  port: number
  /** The value of Proxy-Authorization. A secret. */
  authorization: string | undefined
}

/** The proxies as somebody wrote them; URLs may carry a password. */
export interface UpstreamProxySettings {
  /** For TLS (`HTTPS_PROXY`). */
  https: string | undefined
  /** For plain requests (`HTTP_PROXY`). */
  http: string | undefined
  /** `NO_PROXY`. */
  noProxy: string
}

/** Time for the connection to the proxy and its answer to CONNECT, which comes once it has reached the host. */
const CONNECT_PATIENCE_MS = 10_000
/** Bound of the proxy's answer to CONNECT, in bytes. */
const HEAD_BYTES_MAX = 16 * 1024
/** Hosts behind a proxy often have no name server: time for a name to resolve where none has answered lately. */
const RESOLVE_PATIENCE_MS = 1000
/** How long a name that does not resolve, or a silent name server, is remembered, so that only one connection waits for it. */
const UNRESOLVED_MS = 60_000
/** Bound of the names that are remembered as unresolvable. */
const UNRESOLVED_NAMES_MAX = 1024
/** Time until the next of several addresses is tried: Node's quarter of a second is too short for distant hosts. */
export const ADDRESS_PATIENCE_MS = 2500

const PROXY_URL =
  /^(?:(https?):\/\/)?(?:([^\s/?#]*)@)?(\[[0-9a-fA-F:.]+\]|[^\s:/?#@[\]]+)(?::(\d{1,5}))?\/?$/i

/**
 * Reads `http://user:password@proxy.example.com:3128`; `https://` speaks TLS with the proxy, no scheme is `http://`.
 * @returns undefined for anything else; the text may be a secret, so it is in no message
 */
export function parseProxyUrl(text: string): ProxyAddress | undefined {
  const [, scheme = 'http', userInfo, host, port] = PROXY_URL.exec(text.trim()) ?? []
  const isTls = scheme.toLowerCase() === 'https'
  const number = Number(port ?? (isTls ? 443 : 80))
  if (host === undefined || number < 1 || number > 65_535) return undefined
  const [user, password = ''] = (userInfo ?? '').split(/:(.*)/s).map(decoded)
  const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  return {
    isTls,
    host: host.replace(/^\[(.*)\]$/, '$1').toLowerCase(),
    port: number,
    authorization: userInfo === undefined ? undefined : basic,
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * The proxy that this process's own connections go through, where the network has no other way. Shoal's peers are never
 * reached through it.
 */
export class UpstreamProxy {
  readonly #https: ProxyAddress | undefined
  readonly #http: ProxyAddress | undefined
  readonly #noProxy: NoProxy
  readonly #conditions: Conditions | undefined
  readonly #unresolved = new BoundedMap<string, number>(UNRESOLVED_NAMES_MAX)
  readonly #lookup: Lookup
  #silentUntilMs = 0
  #context: SecureContext | undefined

  readonly #caPem: string | undefined

  /**
   * @param caPem authorities of an `https://` proxy, in addition to the system's
   * @param resolver default: the system's
   * @throws UpstreamProxyError for a URL that is none
   */
  constructor(
    { https, http, noProxy }: UpstreamProxySettings,
    conditions?: Conditions,
    caPem?: string,
    resolver: Lookup = (host) => lookup(host, { all: true }),
  ) {
    this.#lookup = resolver
    this.#https = https === undefined ? undefined : checked(https)
    this.#http = http === undefined ? undefined : checked(http)
    this.#noProxy = new NoProxy(noProxy)
    this.#conditions = conditions
    this.#caPem = caPem
  }

  /** Every proxy that is in use. */
  get addresses(): ProxyAddress[] {
    return [this.#https, this.#http].filter((proxy) => proxy !== undefined)
  }

  /** Whether a TLS connection or tunnel to the host goes through the proxy. */
  isUsedFor(host: string, port: number): boolean {
    return this.#https !== undefined && !this.#noProxy.has(host, port)
  }

  /** The proxy for plain requests to the host; undefined: send them directly. */
  plainProxyFor(host: string, port: number): ProxyAddress | undefined {
    return this.#noProxy.has(host, port) ? undefined : this.#http
  }

  /**
   * A connection to the host through the proxy (CONNECT, RFC 9110 §9.3.6), by name: the proxy resolves it itself.
   * @throws UpstreamProxyError
   */
  async connect(target: { host: string; port: number }): Promise<Socket> {
    const proxy = this.#https
    if (proxy === undefined) throw new UpstreamProxyError('no upstream proxy is configured')
    const socket = await this.dial(proxy)
    const ended = AbortSignal.timeout(CONNECT_PATIENCE_MS)
    const cut = () => socket.destroy(new Error('no answer in time'))
    ended.addEventListener('abort', cut)
    try {
      socket.write(connectRequest(proxy, target))
      const status = await readStatus(socket)
      if (status === 407) this.#conditions?.raise('UPSTREAM_PROXY_REFUSED', addressText(proxy))
      if (status >= 200 && status < 300) this.#conditions?.clear('UPSTREAM_PROXY_REFUSED', addressText(proxy))
      else throw new Error(`it answered ${status}`)
      return socket
    } catch (cause) {
      socket.destroy()
      const why = (cause as Error).message
      const text = `the upstream proxy ${addressText(proxy)} does not lead to ${addressText(target)}`
      throw new UpstreamProxyError(`${text}: ${why}`, { cause })
    } finally {
      ended.removeEventListener('abort', cut)
    }
  }

  /** A connection to the proxy itself. @throws UpstreamProxyError */
  async dial(proxy: ProxyAddress): Promise<Socket> {
    const subject = addressText(proxy)
    const { host, port } = proxy
    const options = { host, port, autoSelectFamilyAttemptTimeout: ADDRESS_PATIENCE_MS }
    this.#context ??= proxy.isTls ? trustingContext(this.#caPem, 'upstreamProxyCaFile') : undefined
    const verified = { secureContext: this.#context!, rejectUnauthorized: true, ALPNProtocols: ['http/1.1'] }
    const socket = proxy.isTls
      ? tls({ ...options, ...verified, ...(isIP(host) === 0 ? { servername: host } : {}) })
      : tcp(options)
    // Between two steps nobody else listens; who takes the connection over hears of the error too.
    socket.on('error', () => undefined)
    try {
      await once(socket, proxy.isTls ? 'secureConnect' : 'connect', {
        signal: AbortSignal.timeout(CONNECT_PATIENCE_MS),
      })
    } catch (cause) {
      socket.destroy()
      const why = (cause as Error).name === 'AbortError' ? 'no answer in time' : (cause as Error).message
      this.#conditions?.raise('UPSTREAM_PROXY_UNREACHABLE', subject, { reason: why })
      throw new UpstreamProxyError(`the upstream proxy ${subject} cannot be reached: ${why}`, { cause })
    }
    this.#conditions?.clear('UPSTREAM_PROXY_UNREACHABLE', subject)
    return socket.setNoDelay(true).setKeepAlive(true)
  }

  /**
   * The host's addresses, to judge them before the proxy is asked; none if the name does not resolve here. A name server
   * that is slow with one name must not let it through unjudged: only where it has been silent lately does a late name
   * count as one that does not resolve.
   * @throws UpstreamProxyError if nothing can be said in time
   */
  async resolve(host: string): Promise<Resolved[]> {
    const startedMs = performance.now()
    if ((this.#unresolved.get(host) ?? 0) > startedMs) return []
    const isSilent = this.#silentUntilMs > startedMs
    const resolved = this.#lookup(host).then(
      (addresses) => {
        this.#silentUntilMs = 0
        return addresses
      },
      (error: NodeJS.ErrnoException): Resolved[] => {
        const nowMs = performance.now()
        this.#unresolved.set(host, nowMs + UNRESOLVED_MS)
        const isOfServer = error.code === 'EAI_AGAIN' && nowMs - startedMs > RESOLVE_PATIENCE_MS
        if (isOfServer) this.#silentUntilMs = nowMs + UNRESOLVED_MS
        return []
      },
    )
    if (await isSettledWithin(resolved, isSilent ? RESOLVE_PATIENCE_MS : CONNECT_PATIENCE_MS)) return resolved
    if (isSilent) return []
    throw new UpstreamProxyError(`the addresses of ${host} cannot be judged: no name server answers in time`)
  }
}

interface Resolved {
  address: string
  family: number
}

type Lookup = (host: string) => Promise<Resolved[]>

function checked(text: string): ProxyAddress {
  const proxy = parseProxyUrl(text)
  if (proxy !== undefined) return proxy
  throw new UpstreamProxyError('the upstream proxy is not of the form http://host:port or https://host:port')
}

function connectRequest({ authorization }: ProxyAddress, target: { host: string; port: number }): string {
  const authority = addressText(target)
  const secret = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`
  const name = `User-Agent: ${shoalUserAgent()}\r\n`
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${name}${secret}\r\n`
}

/** Reads the head of the answer to CONNECT and nothing behind it. */
async function readStatus(socket: Socket): Promise<number> {
  let head = Buffer.alloc(0)
  while (true) {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) {
      if (socket.readableEnded || socket.destroyed) throw socket.errored ?? new Error('it hung up')
      await once(socket, 'readable')
      // At the end of the stream `readable` comes once more, and `end` only after this read.
      if (socket.readableLength === 0) await new Promise(setImmediate)
      continue
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0 && head.length <= HEAD_BYTES_MAX) continue
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.subarray(0, 16).toString('latin1'))?.[1]
    if (end < 0 || status === undefined) throw new Error('it does not speak HTTP')
    if (end + 4 < head.length) socket.unshift(head.subarray(end + 4))
    return Number(status)
  }
}
