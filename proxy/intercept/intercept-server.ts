import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { createServer } from '../../core/node-http.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { refuseSocket } from '../error-response.ts'
import { ProxyRequestError } from '../errors.ts'
import { NEVER_PAUSED, type Pausing } from '../pause.ts'
import type { ProxyAuthority } from './authority.ts'

/** Bounds of a client's request; registries accept no more (Go's default for headers is 1 MiB, nginx's 32 KiB). */
const HEADER_BYTES_MAX = 64 * 1024
const HEADERS_PATIENCE_MS = 30_000
const HANDSHAKE_PATIENCE_MS = 15_000
/** Longer than Go's 90 s for idle connections, so that the client closes first. */
const KEEP_ALIVE_MS = 120_000
/** Longer than any timeout of an upstream, which must answer first. */
export const SOCKET_IDLE_MS = 20 * 60_000

/** Requests of one connection that wait while an earlier one is answered. No pulling client sends even two. */
const PIPELINED_MAX = 16

/** First byte of a ClientHello (RFC 8446 §5.1). */
const TLS_HANDSHAKE = 22

type ParserError = Error & { code?: string; rawPacket?: Buffer }

/** Called for every request of a connection, one at a time. */
type OnRequest = (request: IncomingMessage, response: ServerResponse) => void

export interface InterceptOptions {
  authority: ProxyAuthority
  /** While it is so, connections end with their answer: the next one is a tunnel. */
  pause?: Pausing
  /** For requests on intercepted connections. */
  onRequest: (...exchange: [...Parameters<OnRequest>, registry: RegistryClient]) => void
  log: Logger
}

/**
 * Answers as registries: TLS with a leaf of our authority, then HTTP/1.1; or HTTP/1.1 alone, for the mirror. It gets sockets
 * and does not listen itself.
 */
export class InterceptServer {
  readonly #authority: ProxyAuthority
  readonly #http: Server
  readonly #pause: Pausing
  readonly #log: Logger
  readonly #onRequest: InterceptOptions['onRequest']
  readonly #onRequestOf = new WeakMap<object, OnRequest>()
  /** Requests by connection; the first of each is being answered. */
  readonly #exchangesOf = new WeakMap<object, { response: ServerResponse; answer: () => void }[]>()

  #isDraining = false

  constructor({ authority, pause = NEVER_PAUSED, onRequest, log }: InterceptOptions) {
    this.#authority = authority
    this.#pause = pause
    pause.whenPaused(() => this.#http.closeIdleConnections())
    this.#onRequest = onRequest
    this.#log = log
    this.#http = createServer({
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_PATIENCE_MS,
      // A push may take any time; only idleness is bounded.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      insecureHTTPParser: false,
    })
    this.#http.timeout = SOCKET_IDLE_MS
    this.#http.on('request', (request: IncomingMessage, response: ServerResponse) => {
      response.shouldKeepAlive &&= !this.#isEnding
      this.#inTurn(request.socket, response, () => this.#onRequestOf.get(request.socket)!(request, response))
    })
    const refuseMalformed = malformedRefusal(log, (reason, socket) => this.#refuse(reason, socket))
    this.#http.on('clientError', (error: ParserError, socket: Duplex) => {
      // podman tries every mirror with TLS first, and containerd one with `ca`: an answer in HTTP tells them what it speaks.
      if (error.rawPacket?.[0] === TLS_HANDSHAKE)
        refuseSocket(socket as Socket, new ProxyRequestError('the mirror speaks plain HTTP'))
      else refuseMalformed(error, socket)
    })
    // A tunnel inside an intercepted connection would bypass the rules for targets.
    this.#http.on('connect', (_request, socket) => this.#refuse('CONNECT within a connection', socket))
    // Node enforces headersTimeout only on servers that listen.
    this.#http.emit('listening')
  }

  /**
   * Takes over a connection whose client was told that it is connected to `registry`. Resolves once TLS is up and HTTP
   * has the connection.
   * @throws Error (of TLS, with its `code`) if the handshake fails; the connection is then closed
   */
  async accept(socket: Socket, head: Buffer, registry: RegistryClient): Promise<void> {
    const secureContext = await this.#authority.contextFor(registry.host)
    if (head.length > 0) socket.unshift(head)
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext,
      // HTTP/2 brings no gain on loopback, and all pulling clients speak 1.1.
      ALPNProtocols: ['http/1.1'],
    })
    await handshake(secure)
    this.#take(secure, (request, response) => this.#onRequest(request, response, registry))
  }

  /** Takes over a connection without TLS, which must be from this machine. */
  acceptPlain(socket: Socket, onRequest: OnRequest): void {
    this.#take(socket, onRequest)
  }

  #take(socket: Socket, onRequest: OnRequest): void {
    this.#onRequestOf.set(socket, onRequest)
    this.#exchangesOf.set(socket, [])
    this.#http.emit('connection', socket)
  }

  /**
   * Forwards pipelined requests one by one: several connections to the registry keep no order, and nothing may overtake an
   * unsafe request (RFC 9112 §9.3.2).
   */
  #inTurn(socket: Socket, response: ServerResponse, answer: () => void): void {
    // The connection is already refused: drop further requests.
    if (!socket.writable) return
    const exchanges = this.#exchangesOf.get(socket)!
    if (exchanges.length > PIPELINED_MAX) {
      this.#refuse('too many pipelined requests', socket)
      return
    }
    exchanges.push({ response, answer })
    response.once('close', () => {
      exchanges.shift()
      if (!socket.writable) return
      if (exchanges.length > 0) exchanges[0]?.answer()
      else if (this.#isEnding) socket.end()
    })
    if (exchanges.length === 1) answer()
  }

  /** Cuts the connection if an answer is half sent: the client would take a refusal for a part of it. */
  #refuse(reason: string, socket: Duplex): void {
    const isHalfSent = this.#exchangesOf.get(socket)?.[0]?.response.headersSent
    refuseRequest(this.#log, reason, socket, isHalfSent)
  }

  get #isEnding(): boolean {
    return this.#isDraining || this.#pause.isPaused
  }

  /** Each connection ends once what it asked for is answered. */
  drain(): void {
    this.#isDraining = true
    this.#http.closeIdleConnections()
  }

  close(): void {
    this.#http.close()
    this.#http.closeAllConnections()
  }
}

function handshake(secure: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer)
      secure.destroy()
      reject(error)
    }
    const closed = () => fail(new Error('closed during the TLS handshake'))
    const timer = setTimeout(() => fail(new Error('no TLS handshake in time')), HANDSHAKE_PATIENCE_MS)
    // Keep this listener: HTTP adds its own later, and an error before that must not end the process.
    secure.on('error', fail)
    secure.once('close', closed)
    secure.once('secure', () => {
      clearTimeout(timer)
      secure.off('close', closed)
      resolve()
    })
  })
}

/**
 * Handles requests that the parser refused: conflicting lengths, bare line feeds, oversized headers (RFC 9112 §2.2, §6.3).
 * @param refuse answers with an error, or cuts the connection
 */
export function malformedRefusal(
  log: Logger,
  refuse = (reason: string, socket: Duplex) => refuseRequest(log, reason, socket),
): (error: Error & { code?: string }, socket: Duplex) => void {
  return (error, socket) => {
    if (error.code === 'ECONNRESET') return void socket.destroy()
    refuse(`malformed request (${error.code ?? 'unknown'})`, socket)
  }
}

function refuseRequest(log: Logger, reason: string, socket: Duplex, isCut = false): void {
  const refusal = new ProxyRequestError(reason)
  log.warn({ code: refusal.code, reason }, 'request refused')
  if (isCut) socket.destroy()
  else refuseSocket(socket as Socket, refusal)
}
