import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { buildConnector as Build, Dispatcher } from 'undici'
import { BoundedMap } from './bounded-map.ts'
import { request as requestHttp } from './node-http.ts'

/**
 * Answers that undici refuses, and Go and curl accept: with Content-Length and `Transfer-Encoding: chunked` at once, with
 * folded fields (RFC 9112 §5.2), with bare LF (§2.2), after a 100 that nobody asked for (RFC 9110 §15.2). A request that
 * is safe to repeat is made again with Node's own client, whose parser can be told to accept them. Chunked counts, as RFC
 * 9112 §6.3 demands. Such an answer ends its connection: after it nobody can be sure where the next begins.
 */

export interface LenientOptions {
  /** For requests that name no origin, as those of a pool. */
  origin: string
  /** As the dispatcher's own. */
  connect: Build.connector
  headerBytesMax: number
  /** How long the server may be silent, before and during the answer. */
  silentMsMax: number
}

type Options = Dispatcher.DispatchOptions & { origin?: string | URL }
type Handler = Dispatcher.DispatchHandler

/** undici's parser understood the answer otherwise than as one answer. Its errors have names, and most have no code. */
function isAboutForm({ name, code, message }: Error & { code?: string }): boolean {
  if (name === 'HTTPParserError' || code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') return true
  return code === 'UND_ERR_SOCKET' && message === 'bad response'
}

/** How long requests of one kind go to the lenient client at once. */
const LENIENT_MS = 10 * 60_000
/** Bound of kinds: a few methods and paths for each of the storage hosts. */
const KINDS_MAX = 64

/** For `compose`, inside of `fairly`, so that both tries count as one request. */
export function tolerantly(options: LenientOptions): Dispatcher.DispatcherComposeInterceptor {
  const untilMs = new BoundedMap<string, number>(KINDS_MAX)
  return (dispatch) => (given, handler) => {
    if (given.body != null || !['GET', 'HEAD'].includes(given.method)) return dispatch(given, handler)
    const kind = kindOf(given)
    if ((untilMs.get(kind) ?? 0) > Date.now()) return dispatchLeniently(options, given, handler)
    // Only what the lenient client understood: garbage is no habit.
    const understood = () => untilMs.set(kind, Date.now() + LENIENT_MS)
    return dispatch(
      given,
      new FirstTry(handler, () => dispatchLeniently(options, given, handler, understood)),
    )
  }
}

function kindOf({ method, path, origin }: Options): string {
  return `${method} ${origin ?? ''} ${/\/(blobs|manifests)\//.exec(path)?.[1] ?? ''}`
}

/**
 * Passes everything on but an error about the answer's form, if it came before the answer. Takes blanks after a field's
 * value away (RFC 9110 §5.5), which undici leaves there.
 */
class FirstTry implements Handler {
  readonly #handler: Handler
  readonly #again: () => void
  #hasStarted = false

  constructor(handler: Handler, again: () => void) {
    this.#handler = handler
    this.#again = again
  }

  onRequestStart(...given: Parameters<NonNullable<Handler['onRequestStart']>>): void {
    this.#handler.onRequestStart?.(...given)
  }

  onRequestUpgrade(...given: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    this.#handler.onRequestUpgrade?.(...given)
  }

  onResponseStart(...given: Parameters<NonNullable<Handler['onResponseStart']>>): void {
    const [controller, status, headers, ...rest] = given
    this.#hasStarted ||= status >= 200
    this.#handler.onResponseStart?.(controller, status, withoutBlanks(headers), ...rest)
  }

  onResponseData(...given: Parameters<NonNullable<Handler['onResponseData']>>): void {
    this.#handler.onResponseData?.(...given)
  }

  onResponseEnd(...given: Parameters<NonNullable<Handler['onResponseEnd']>>): void {
    this.#handler.onResponseEnd?.(...given)
  }

  onResponseError(controller: Dispatcher.DispatchController, error: Error & { code?: string }): void {
    if (!this.#hasStarted && isAboutForm(error)) this.#again()
    else this.#handler.onResponseError?.(controller, error)
  }
}

function withoutBlanks(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const trimmed = (value: string | string[] | undefined) =>
    Array.isArray(value) ? value.map((one) => one.trimEnd()) : value?.trimEnd()
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, trimmed(value)]))
}

/** One request in a connection of its own, as undici would make it. */
function dispatchLeniently(
  options: LenientOptions,
  given: Options,
  handler: Handler,
  understood: () => void = () => undefined,
): boolean {
  const url = new URL(given.origin ?? options.origin)
  const { hostname, host, protocol, port } = url
  const request = requestHttp({
    createConnection: (_options, connected) => {
      options.connect({ hostname, host, protocol, port }, (...[error, socket]) => connected(error, socket!))
      return undefined
    },
    method: given.method,
    path: given.path,
    headers: withHost(flatHeaders(given.headers), url.host),
    insecureHTTPParser: true,
    maxHeaderSize: options.headerBytesMax,
  })
  const controller = new Controller(request)
  const fail = (error: Error) => controller.settle(() => handler.onResponseError?.(controller, error))
  request.setTimeout(options.silentMsMax, () => request.destroy(new Error('no answer in time')))
  request.on('error', fail)
  request.on('close', () => fail(new Error('the connection ended before the answer')))
  request.on('response', (answer) => {
    try {
      begin(answer)
    } catch (error) {
      // Fields that this parser lets pass and the client's answer does not take.
      controller.abort(error as Error)
      fail(error as Error)
    }
  })
  const begin = (answer: IncomingMessage) => {
    const { rawHeaders, headers } = withOneFraming(answer, given.method)
    controller.rawHeaders = rawHeaders.map((text) => Buffer.from(text, 'latin1'))
    controller.answer = answer
    understood()
    answer.on('error', fail)
    handler.onResponseStart?.(controller, answer.statusCode!, headers, answer.statusMessage)
    answer.on('data', (chunk: Buffer) => handler.onResponseData?.(controller, chunk))
    answer.on('end', () => controller.settle(() => handler.onResponseEnd?.(controller, {})))
    if (controller.paused) answer.pause()
  }
  handler.onRequestStart?.(controller, undefined)
  if (!controller.aborted) request.end()
  return true
}

/** Without Content-Length where chunks frame the body, so that the next reader cannot choose. */
function withOneFraming(answer: IncomingMessage, method: string) {
  const headers = { ...answer.headers }
  const isFramedTwice = method !== 'HEAD' && headers['transfer-encoding'] !== undefined
  if (isFramedTwice) delete headers['content-length']
  const dropped = isFramedTwice ? 'content-length' : 'transfer-encoding'
  const rawHeaders = answer.rawHeaders.filter((_, at, all) => all[at - (at % 2)]!.toLowerCase() !== dropped)
  return { headers, rawHeaders }
}

function flatHeaders(headers: Dispatcher.DispatchOptions['headers']): string[] {
  if (headers == null) return []
  if (Array.isArray(headers)) return headers.map(String)
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers)
  return entries.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]))
}

/** Node adds no Host to a list of fields. */
function withHost(headers: string[], host: string): string[] {
  const hasHost = headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host')
  return hasHost ? headers : ['Host', host, ...headers]
}

class Controller implements Dispatcher.DispatchController {
  rawHeaders: Buffer[] = []
  answer: IncomingMessage | undefined
  aborted = false
  paused = false
  reason: Error | null = null
  readonly #request: ClientRequest
  #isSettled = false

  constructor(request: ClientRequest) {
    this.#request = request
  }

  abort(reason: Error): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    this.#request.destroy(reason)
    this.answer?.destroy(reason)
  }

  pause(): void {
    this.paused = true
    this.answer?.pause()
  }

  resume(): void {
    this.paused = false
    this.answer?.resume()
  }

  /** The end or the error, whichever comes first. */
  settle(tell: () => void): void {
    if (this.#isSettled) return
    this.#isSettled = true
    tell()
  }
}
