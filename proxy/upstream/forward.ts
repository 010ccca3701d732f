import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { ShoalError } from '../../core/errors.ts'
import { ProxyRequestError, UpstreamTimeoutError } from '../errors.ts'
import { endToEndHeaders } from './end-to-end-headers.ts'

/**
 * Pass-through: a request goes to its upstream and the answer comes back, both unchanged and as streams with
 * backpressure. If one side goes away, the other is cut too.
 */
export interface Upstream {
  dispatcher: Dispatcher
  /** The path exactly as the client wrote it, never decoded or normalised. Starts with `/`. */
  path: string
  /** Replaces the request's Host field. */
  host?: string
  /** Ends the request if it aborts before the answer began. */
  giveUp?: AbortSignal
  /** Fields for the upstream alone, as in `rawHeaders`. */
  headers?: string[]
  /**
   * Milliseconds after which a request that is safe to repeat is sent again, instead of this answer being passed on.
   * Undefined: it is passed on.
   */
  againInMs?: (status: number, headers: AnswerHeaders) => number | undefined
  /** What the client gets in place of the answer's end-to-end fields, as in `rawHeaders`; default: the same. */
  answerHeaders?: (status: number, raw: string[]) => string[]
  /** The error for the client if the upstream cannot be reached. */
  unreachable: (cause: Error) => ShoalError
}

export type AnswerHeaders = Record<string, string | string[] | undefined>

/** Watches an answer, and perhaps the request's body, as they pass; can neither delay nor change them. */
export interface ResponseWatcher {
  /** A part of the request's body goes to the upstream. */
  onBody?(chunk: Buffer): void
  onStart(status: number, headers: AnswerHeaders): void
  onData(chunk: Buffer): void
  onEnd(): void
}

/** One watcher for all. */
export function allOf(watchers: readonly (ResponseWatcher | undefined)[]): ResponseWatcher {
  const all = watchers.filter((watcher) => watcher !== undefined)
  const ofBody = all.filter(({ onBody }) => onBody !== undefined)
  const onBody = (chunk: Buffer) => {
    for (const watcher of ofBody) watcher.onBody?.(chunk)
  }
  return {
    // Nobody listens to bodies that nobody watches.
    ...(ofBody.length > 0 && { onBody }),
    onStart: (status, headers) => {
      for (const watcher of all) watcher.onStart(status, headers)
    },
    onData: (chunk) => {
      for (const watcher of all) watcher.onData(chunk)
    },
    onEnd: () => {
      for (const watcher of all) watcher.onEnd()
    },
  }
}

/**
 * How long an upstream may take to begin its answer. Docker waits without end, and a registry may first fetch a whole layer
 * from behind, or copy and hash one.
 */
export const ANSWER_PATIENCE_MS = 15 * 60_000
/** What is read of an answer that is not passed on, so that its connection is kept; above it the connection ends. */
export const HELD_BACK_BYTES_MAX = 64 * 1024
/** A kept-alive connection can end just when it is used again, so a request that is safe to repeat is sent once more. */
const RETRIES_MAX = 1

/**
 * Forwards one request and its answer. Resolves once the whole answer is handed to the client's connection, or when
 * either side goes away after it began.
 * @throws ShoalError if there was no answer to pass on: the client has received nothing yet
 */
export async function forward(
  request: IncomingMessage,
  response: ServerResponse,
  upstream: Upstream,
  watcher?: ResponseWatcher,
): Promise<void> {
  const signals = [goneSignal(response), ...(upstream.giveUp ? [upstream.giveUp] : [])]
  const signal = AbortSignal.any(signals)
  let attempt = 0
  for (;;) {
    try {
      return await dispatchOnce(request, response, { ...upstream, signal }, watcher)
    } catch (cause) {
      const error = cause as Error & { code?: string }
      if (error instanceof HeldBack) {
        await wait(error.forMs, undefined, { signal }).catch(() => undefined)
        if (response.destroyed) return
        upstream.giveUp?.throwIfAborted()
        attempt = 0
        continue
      }
      if (attempt++ < RETRIES_MAX && isStale(error) && isRepeatable(request)) continue
      throw explain(error, upstream)
    }
  }
}

/** The answer was not passed on: the request is to be sent again after a while. */
class HeldBack extends Error {
  readonly forMs: number

  constructor(forMs: number) {
    super('held back')
    this.forMs = forMs
  }
}

function dispatchOnce(
  request: IncomingMessage,
  response: ServerResponse,
  {
    dispatcher,
    path,
    host,
    headers = [],
    giveUp,
    signal,
    againInMs = () => undefined,
    answerHeaders = (_status, raw) => raw,
  }: Upstream & { signal: AbortSignal },
  watcher: ResponseWatcher | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const body = hasBody(request) ? request : null
    const options: Dispatcher.DispatchOptions & { signal: AbortSignal } = {
      method: request.method!,
      path,
      headers: [...requestHeaders(request, host), ...headers],
      body,
      headersTimeout: ANSWER_PATIENCE_MS,
      // By default undici closes a connection after each HEAD; Docker sends one per manifest and per pushed layer.
      reset: false,
      // For the time while it waits for a connection; after that the relay handles this.
      signal,
    }
    const repeated = isRepeatable(request) ? againInMs : () => undefined
    dispatcher.dispatch(
      options,
      new AnswerRelay(response, { watcher, giveUp, againInMs: repeated, answerHeaders }, { resolve, reject }),
    )
  })
}

/** One for all: without a reason, every answered request would make an exception with a stack. */
const GONE = new Error('the client went away')

/** Aborts when the client goes away, or has its whole answer. */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  if (response.destroyed) gone.abort(GONE)
  response.once('close', () => gone.abort(GONE))
  return gone.signal
}

/** Writes an upstream's answer to the client's response. */
class AnswerRelay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #watcher: ResponseWatcher | undefined
  readonly #giveUp: AbortSignal | undefined
  readonly #againInMs: NonNullable<Upstream['againInMs']>
  readonly #answerHeaders: NonNullable<Upstream['answerHeaders']>
  /** Bytes of an answer that is not passed on; undefined for any other. */
  #heldBackBytes: number | undefined
  readonly #settle: { resolve: () => void; reject: (error: Error) => void }
  #stopListening = () => {}

  constructor(
    response: ServerResponse,
    {
      watcher,
      giveUp,
      againInMs,
      answerHeaders,
    }: {
      watcher: ResponseWatcher | undefined
      giveUp: AbortSignal | undefined
      againInMs: NonNullable<Upstream['againInMs']>
      answerHeaders: NonNullable<Upstream['answerHeaders']>
    },
    settle: { resolve: () => void; reject: (error: Error) => void },
  ) {
    this.#response = response
    this.#watcher = watcher
    this.#giveUp = giveUp
    this.#againInMs = againInMs
    this.#answerHeaders = answerHeaders
    this.#settle = settle
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Beside the upstream's own listener, which sets the pace. There is no second try of a request with a body.
    if (this.#watcher?.onBody)
      this.#response.req.on('data', (chunk: Buffer) => this.#watcher?.onBody?.(chunk))
    const abort = () => controller.abort(GONE)
    const giveUp = () => this.#response.headersSent || controller.abort(this.#giveUp!.reason)
    const resume = () => controller.resume()
    this.#stopListening()
    if (this.#response.destroyed) {
      abort()
      return
    }
    this.#giveUp?.addEventListener('abort', giveUp)
    this.#response.on('close', abort)
    this.#response.on('drain', resume)
    this.#stopListening = () => {
      this.#response.off('close', abort)
      this.#response.off('drain', resume)
      this.#giveUp?.removeEventListener('abort', giveUp)
    }
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: AnswerHeaders,
    reason?: string,
  ): void {
    if (status < 200) return
    const heldBackMs = this.#againInMs(status, headers)
    if (heldBackMs !== undefined) {
      this.#heldBackBytes = 0
      this.#settle.reject(new HeldBack(heldBackMs))
      return
    }
    const raw = (controller.rawHeaders as Buffer[]).map((text) => text.toString('latin1'))
    this.#response.sendDate = false
    // The answer came before the end of the request: nobody reads the rest of the body, so this connection ends.
    this.#response.shouldKeepAlive &&= this.#response.req.complete
    this.#response.writeHead(status, reason ?? '', this.#answerHeaders(status, endToEndHeaders(raw)))
    this.#response.flushHeaders()
    this.#watcher?.onStart(status, headers)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#heldBackBytes !== undefined) {
      this.#heldBackBytes += chunk.length
      if (this.#heldBackBytes > HELD_BACK_BYTES_MAX) controller.abort(new Error('not passed on'))
      return
    }
    this.#watcher?.onData(chunk)
    if (!this.#response.write(chunk)) controller.pause()
  }

  onResponseEnd(): void {
    this.#stopListening()
    if (this.#heldBackBytes !== undefined) return
    this.#response.end()
    this.#watcher?.onEnd()
    this.#settle.resolve()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#stopListening()
    // The next answer may have begun.
    if (this.#heldBackBytes !== undefined) return
    if (this.#response.headersSent || this.#response.destroyed) {
      // Cut the connection, so that the client cannot take the bytes for the whole answer.
      this.#response.destroy()
      this.#settle.resolve()
    } else {
      this.#settle.reject(error)
    }
  }
}

function requestHeaders({ rawHeaders }: IncomingMessage, host: string | undefined): string[] {
  const headers = endToEndHeaders(rawHeaders)
  if (host === undefined) return headers
  const isHost = (index: number) => headers[index - (index % 2)]!.toLowerCase() === 'host'
  return ['Host', host, ...headers.filter((_, index) => !isHost(index))]
}

/** A request has a body if it says how long it is (RFC 9112 §6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

/** Safe methods (RFC 9110 §9.2.2) without a body. */
function isRepeatable(request: IncomingMessage): boolean {
  return !hasBody(request) && ['GET', 'HEAD', 'OPTIONS'].includes(request.method!)
}

function isStale(error: { code?: string }): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(error.code ?? '')
}

function explain(error: Error & { code?: string }, upstream: Upstream): ShoalError {
  if (error instanceof ShoalError) return error
  if (error.code === 'UND_ERR_HEADERS_TIMEOUT') {
    return new UpstreamTimeoutError('the upstream did not answer in time', { cause: error })
  }
  if (error.code === 'UND_ERR_INVALID_ARG' || error.code === 'UND_ERR_NOT_SUPPORTED') {
    return new ProxyRequestError('the request cannot be passed on', { cause: error })
  }
  return upstream.unreachable(error)
}
