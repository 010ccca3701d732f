import { openSync, readFileSync, writeSync } from 'node:fs'
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { createSecureContext } from 'node:tls'
import { OddAnswers } from './odd-answers.ts'
import type { OddRegistryOptions } from './odd-registry.ts'
import type { OddRequest } from './odd-request.ts'

/**
 * All odd registries of a lab as one process: it must be in their network namespace. Argument: a file with its options,
 * as JSON. Each answered request is a line in the log; standard output has one line once all ports listen.
 */
const HEADER_BYTES_MAX = 256 * 1024
const KEEP_ALIVE_MS = 65_000

const options = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as OddRegistryOptions
const log = openSync(options.logFile, 'a', 0o600)
const answers = new OddAnswers(options)
const contexts = new Map(
  Object.entries(options.tls.byName).map(([name, tls]) => [
    name,
    createSecureContext({ cert: tls.certificatePem, key: tls.privateKeyPem }),
  ]),
)

const note = (line: object) => void writeSync(log, `${JSON.stringify(line)}\n`)

function handle(port: number, isPlain: boolean) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const asked: OddRequest = { request, response, port, isPlain, sentBytes: 0, digest: undefined }
    const from = request.socket.remoteAddress?.replace(/^::ffff:/, '')
    const { method, url = '/' } = request
    const host = request.headers.host ?? ''
    const startedMs = performance.now()
    request.socket.once('error', () => undefined)
    response.once('close', () => {
      const ms = Math.round(performance.now() - startedMs)
      const { digest, sentBytes, status = response.statusCode } = asked
      note({
        from,
        host,
        port,
        method,
        path: url,
        range: request.headers.range,
        status,
        digest,
        sentBytes,
        ms,
      })
    })
    answers.answer(asked).catch((error: Error) => {
      note({ error: error.stack })
      response.destroy()
    })
  }
}

function serverFor(port: number) {
  const registries = options.registries.filter((registry) => (registry.port ?? 443) === port)
  const limits = { maxHeaderSize: HEADER_BYTES_MAX, keepAliveTimeout: KEEP_ALIVE_MS }
  if (registries.some(({ isPlain }) => isPlain)) return createPlainServer(limits, handle(port, true))
  const isMutual = registries.some(({ trust }) => trust === 'client-certificate')
  const { certificatePem, privateKeyPem } = options.tls.default
  return createServer(
    {
      ...limits,
      cert: certificatePem,
      key: privateKeyPem,
      SNICallback: (name, done) => done(null, contexts.get(name.toLowerCase())),
      // The registry itself judges each connection: it answers 400 to a client without a certificate.
      ...(isMutual ? { requestCert: true, rejectUnauthorized: false, ca: options.tls.authorityPem } : {}),
    },
    handle(port, false),
  )
}

const ports = [...new Set(options.registries.map(({ port = 443 }) => port))]
await Promise.all(
  ports.map((port) => {
    const server = serverFor(port)
    server.on('tlsClientError', (_error, socket: TLSSocket) => socket.destroy())
    server.on('clientError', (_error, socket) => socket.destroy())
    return new Promise<void>((resolve) => server.listen(port, '0.0.0.0', resolve))
  }),
)
process.stdout.write('listening\n')
