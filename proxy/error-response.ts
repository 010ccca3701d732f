import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ShoalError } from '../core/errors.ts'

/** Where codes become statuses: every error that the proxy or the admin listener answers with. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  PROXY_REQUEST: 400,
  CONNECT_DENIED: 403,
  ADMIN_HOST: 403,
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

/** How long a refused connection is read on, to be closed by its client. */
const LINGER_MS = 2000

export function statusOf(error: ShoalError): number {
  return STATUS_OF_CODE[error.code] ?? 500
}

/**
 * The reason phrase carries the code: of a proxy's refusal, Docker and other Go programs print nothing else
 * (`Bad Gateway (TARGET_UNREACHABLE)`).
 */
function reasonPhrase(error: ShoalError): string {
  return `${STATUS_CODES[statusOf(error)]} (${error.code})`
}

/** OCI distribution-spec, "Error Codes": the form that pulling clients read and print. */
function ociErrorBody(error: ShoalError): string {
  return JSON.stringify({ errors: [{ code: error.code, message: error.message }] })
}

/** Answers with the error, or cuts the connection when an answer has already begun. */
export function respondWithError(response: ServerResponse, error: ShoalError): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const body = ociErrorBody(error)
  // What is left of the request's body is not worth reading.
  response.shouldKeepAlive &&= response.req.complete
  response.writeHead(statusOf(error), reasonPhrase(error), {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

/** The same for a connection that has no response object: a CONNECT request, or one that could not be parsed. */
export function refuseSocket(socket: Socket, error: ShoalError, lingerMs = LINGER_MS): void {
  if (!socket.writable) return
  const body = ociErrorBody(error)
  socket.end(
    `HTTP/1.1 ${statusOf(error)} ${reasonPhrase(error)}\r\n` +
      'Content-Type: application/json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  )
  // RFC 9112 §9.6: closed at once, what the client still sends would make its kernel drop this answer.
  socket.resume()
  setTimeout(() => socket.destroy(), lingerMs).unref()
}
