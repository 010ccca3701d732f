import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { startTokenServer } from '../registry/token-server.ts'
import { DistributionApi } from './distribution-api.ts'
import type { StandInRegistryConfig } from './registry.ts'

/**
 * The stand-in registry as a process, with the token server beside it. Argument: a file with its configuration, as JSON.
 * Standard output is the access log, in the Combined Log Format as Distribution's.
 */
const CONNECTIONS_MAX = 256

const { listen, name, tls, dir, tokens } = JSON.parse(
  readFileSync(process.argv[2]!, 'utf8'),
) as StandInRegistryConfig
await startTokenServer(tokens)
const { host, port } = tokens.listen
const api = new DistributionApi({
  dir,
  realm: `https://${name}:${port}/token`,
  service: tokens.service,
  issuer: tokens.issuer,
  certificatePem: tokens.signingKey.certificatePem,
})

const server = createServer({ cert: tls.certificatePem, key: tls.privateKeyPem }, (request, response) => {
  const sent = countBody(response)
  response.once('close', () => void process.stdout.write(logLine(request, response, sent())))
  api.answer(request, response).catch((error: Error) => {
    if (!response.destroyed) process.stderr.write(`${error.stack}\n`)
    response.destroy()
  })
})
server.maxConnections = CONNECTIONS_MAX
server.on('tlsClientError', (_error, socket) => socket.destroy())
server.listen(listen.port, host)

/** Bytes of the body that were written. */
function countBody(response: ServerResponse): () => number {
  let bytes = 0
  const write = response.write.bind(response)
  const end = response.end.bind(response)
  const count = (chunk: unknown) => {
    if (typeof chunk === 'string' || Buffer.isBuffer(chunk)) bytes += Buffer.byteLength(chunk)
  }
  response.write = ((chunk: Buffer, ...others: []) => {
    count(chunk)
    return write(chunk, ...others)
  }) as typeof response.write
  response.end = ((chunk: Buffer, ...others: []) => {
    count(chunk)
    return end(chunk, ...others)
  }) as typeof response.end
  return () => bytes
}

function logLine({ method, url, socket, headers }: IncomingMessage, response: ServerResponse, bytes: number) {
  const agent = headers['user-agent'] ?? ''
  const request = `${method} ${url} HTTP/1.1`
  return `${socket.remoteAddress ?? '-'} - - [${new Date().toISOString()}] "${request}" ${response.statusCode} ${bytes} "" "${agent}"\n`
}
