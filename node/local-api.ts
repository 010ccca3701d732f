import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { parseBoundedJson } from '../core/bounded-json.ts'
import type { Defects } from '../core/defects.ts'
import { InvalidInputError, type ShoalError } from '../core/errors.ts'
import { issueWords } from '../core/issue-words.ts'
import { createServer } from '../core/node-http.ts'
import { AdminMethodError, AdminPathError } from '../proxy/errors.ts'
import { Connections } from '../proxy/loopback-listener.ts'
import { LOCAL_STATUS_OF_CODE, LocalRequestError } from './errors.ts'
import { listenAtSocket } from './local-socket.ts'

/**
 * The local API: JSON over HTTP at a Unix socket, for the commands of this machine. Whatever changes the node's state or names
 * images is here and nowhere else: the file system says who may (local-socket.ts), and no browser can reach a socket.
 * Each file in local/ has the routes of one subject.
 */

/** Connections at one time: commands have one each, for a moment. */
export const LOCAL_CONNECTIONS_MAX = 64
/** A request's body, in bytes: some names of images or settings. */
export const LOCAL_BODY_BYTES_MAX = 64 * 1024
/** Nesting of a request's body. */
const BODY_DEPTH_MAX = 8
/** A request's headers. */
const HEADER_BYTES_MAX = 16 * 1024
/** How long a caller may take to send its request. An answer may take as long as its work. */
const REQUEST_PATIENCE_MS = 10_000

export interface LocalRequest<Body = unknown> {
  query: URLSearchParams
  /** As the route's schema has it; undefined without a schema. */
  body: Body
  /** Aborted when the caller goes away before it has the answer. */
  gone: AbortSignal
}

export interface LocalRoute<Body = unknown> {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Without parameters: names of images and blobs are in the query or the body. */
  path: string
  body?: z.ZodType<Body>
  /** The answer, as JSON; undefined: `{}`. Throws a ShoalError for whatever may fail (LOCAL_STATUS_OF_CODE). */
  answer(request: LocalRequest<Body>): unknown
}

/** Ties the body's type to its schema. */
export function localRoute<Body>(route: LocalRoute<Body>): LocalRoute {
  return route as unknown as LocalRoute
}

export interface LocalApiOptions {
  path: string
  routes: readonly LocalRoute[]
  log: Logger
  defects: Defects
}

/** @throws LocalSocketError, DataFolderError */
export async function startLocalApi(options: LocalApiOptions) {
  const server = localServer(options)
  const connections = new Connections(server)
  await listenAtSocket(server, options.path)
  return { path: options.path, close: () => connections.closeWith(server) }
}

function localServer({ routes, defects }: LocalApiOptions): Server {
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      requestTimeout: REQUEST_PATIENCE_MS,
      headersTimeout: REQUEST_PATIENCE_MS,
    },
    (request, response) => {
      const refuse = (error: ShoalError) => sendError(response, error)
      defects.boundary('admin_request', refuse).run(async () => {
        send(response, 200, (await answerTo(routes, request, response)) ?? {})
      })
    },
  )
  server.maxConnections = LOCAL_CONNECTIONS_MAX
  server.on('clientError', (_error, socket) => void socket.destroy())
  return server
}

async function answerTo(
  routes: readonly LocalRoute[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<unknown> {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2)
  const here = routes.filter((route) => route.path === path)
  if (here.length === 0) throw new AdminPathError('the node has no such call')
  const route = here.find(({ method }) => method === request.method)
  if (route === undefined) {
    throw new AdminMethodError(`this call takes ${here.map(({ method }) => method).join(' or ')}`)
  }
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  const text = await bodyOf(request)
  const body = route.body === undefined ? undefined : checkedBody(route.body, text)
  return route.answer({ query: new URLSearchParams(query), body, gone: gone.signal })
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    // The answer to a body that is too long still goes to its caller.
    const parts = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
    for await (const chunk of parts) {
      bytes += chunk.length
      if (bytes > LOCAL_BODY_BYTES_MAX) break
      chunks.push(chunk)
    }
  } catch (cause) {
    throw new LocalRequestError('the request was cut off', { cause })
  }
  if (bytes > LOCAL_BODY_BYTES_MAX) throw new LocalRequestError('the body is too long')
  return Buffer.concat(chunks).toString()
}

function checkedBody(schema: z.ZodType, text: string): unknown {
  const parsed = schema.safeParse(jsonOf(text))
  if (parsed.success) return parsed.data
  throw new LocalRequestError(`the body is wrong: ${issueWords(parsed.error.issues[0]!)}`)
}

function jsonOf(text: string): unknown {
  try {
    return parseBoundedJson(text, { charsMax: LOCAL_BODY_BYTES_MAX, depthMax: BODY_DEPTH_MAX })
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error
    throw new LocalRequestError(`the body is wrong: ${error.message}`)
  }
}

function sendError(response: ServerResponse, { code, message, hint }: ShoalError): void {
  // The rest of a body that is too long is not worth reading.
  response.shouldKeepAlive &&= response.req.complete
  send(response, LOCAL_STATUS_OF_CODE[code] ?? 500, { error: { code, message, ...(hint && { hint }) } })
}

function send(response: ServerResponse, status: number, value: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const body = JSON.stringify(value)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}
