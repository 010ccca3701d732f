import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { ShoalError } from '../core/errors.ts'
import { STATUS_CODES } from '../core/node-http.ts'

/** The HTTP status of every error that the proxy or the admin listener answers with. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  PROXY_REQUEST: 400,
  CONNECT_DENIED: 403,
  ADMIN_HOST: 403,
  MIRROR_CALLER: 403,
  MIRROR_TARGET: 404,
  MIRROR_METHOD: 405,
  MIRROR_UNUSABLE: 503,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  MISDIRECTED_REQUEST: 421,
  REGISTRY_UNREACHABLE: 502,
  REGISTRY_BUSY: 503,
  TRANSFER_STALLED: 504,
  TARGET_UNREACHABLE: 502,
  CONNECTIONS_TOO_MANY: 503,
  UPSTREAM_TIMEOUT: 504,
}

/** How long a refused connection is still read, so that its client closes it. */
const LINGER_MS = 2000

export function statusOf(error: ShoalError): number {
  return STATUS_OF_CODE[error.code] ?? 500
}

/**
 * The reason phrase with the code, because Docker and other Go programs print nothing else of a proxy's refusal
 * (`Bad Gateway (TARGET_UNREACHABLE)`).
 */
function reasonPhrase(error: ShoalError): string {
  return `${STATUS_CODES[statusOf(error)]} (${error.code})`
}

/** The form of errors that pulling clients read and print (OCI distribution-spec, "Error Codes"). */
function ociErrorBody(error: ShoalError): string {
  return JSON.stringify({ errors: [{ code: error.code, message: error.message }] })
}

/** Answers with the error, or cuts the connection if an answer has begun. */
export function respondWithError(response: ServerResponse, error: ShoalError): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const body = ociErrorBody(error)
  // Close the connection: the rest of the request's body is not worth reading.
  response.shouldKeepAlive &&= response.req.complete
  response.writeHead(statusOf(error), reasonPhrase(error), {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

/** The same for a connection without a response object: a CONNECT request, or one that cannot be parsed. */
export function refuseSocket(socket: Socket, error: ShoalError, lingerMs = LINGER_MS): void {
  if (!socket.writable) return
  const body = ociErrorBody(error)
  socket.end(
    `HTTP/1.1 ${statusOf(error)} ${reasonPhrase(error)}\r\n` +
      'Content-Type: application/json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  )
  // Do not close at once (RFC 9112 §9.6): bytes that the client still sends would make its kernel drop this answer.
  socket.resume()
  setTimeout(() => socket.destroy(), lingerMs).unref()
}
