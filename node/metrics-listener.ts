import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import { ConfigError, type ListenAddress } from '../core/config.ts'
import { ListenFailedError } from '../core/errors.ts'
import type { Metrics } from '../core/metrics.ts'
import { Connections } from '../proxy/loopback-listener.ts'

/**
 * `/metrics` for a Prometheus on another machine, over TLS. It has nothing else, and no metric names a repository, a blob or
 * a user. Certificate and key are read again when their files change.
 */

/** Bounds of the metrics listener: a few scrapers. */
const CONNECTIONS_MAX = 16
const HEADER_BYTES_MAX = 16 * 1024
const REQUEST_PATIENCE_MS = 10_000
/** How often the node looks whether the files have changed. */
export const METRICS_TLS_LOOK_MS = 10_000

export interface MetricsTls {
  certFile: string
  keyFile: string
}

export interface MetricsListenerOptions extends MetricsTls {
  listen: ListenAddress
  metrics: Metrics
  conditions: Conditions
  log: Logger
  lookMs?: number
}

/** @throws ConfigError if the files cannot be used, ListenFailedError */
export async function startMetricsListener(options: MetricsListenerOptions) {
  const { listen, lookMs = METRICS_TLS_LOOK_MS } = options
  const server = metricsServer(options)
  const connections = new Connections(server)
  server.listen(listen)
  await once(server, 'listening').catch((cause: Error) => {
    throw new ListenFailedError('metricsListen', listen, cause)
  })
  const timer = setInterval(followFiles(server, options), lookMs).unref()
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    close() {
      clearInterval(timer)
      return connections.closeWith(server)
    },
  }
}

function metricsServer({ metrics, certFile, keyFile }: MetricsListenerOptions): Server {
  const server = createServer(
    {
      ...usableTls({ certFile, keyFile }),
      minVersion: 'TLSv1.2',
      maxHeaderSize: HEADER_BYTES_MAX,
      requestTimeout: REQUEST_PATIENCE_MS,
      headersTimeout: REQUEST_PATIENCE_MS,
      handshakeTimeout: REQUEST_PATIENCE_MS,
    },
    (request, response) => {
      answer(metrics, request, response).catch(() => response.destroy())
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  server.on('clientError', (_error, socket) => void socket.destroy())
  return server
}

async function answer(metrics: Metrics, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const isScrape = request.url?.split('?')[0] === '/metrics' && request.method === 'GET'
  response.shouldKeepAlive &&= request.complete
  if (!isScrape) return void response.writeHead(404, { 'content-length': 0 }).end()
  const text = await metrics.text()
  response.writeHead(200, {
    'content-type': metrics.contentType,
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

/** @throws ConfigError */
function usableTls(files: MetricsTls): SecureContextOptions {
  try {
    return readTls(files)
  } catch (cause) {
    throw new ConfigError(`metricsCertFile and metricsKeyFile cannot be used: ${(cause as Error).message}`, {
      hint: 'Name a PEM certificate with its chain, and its key.',
    })
  }
}

function readTls({ certFile, keyFile }: MetricsTls): SecureContextOptions {
  const tls = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
  // Fails unless the two belong together.
  createSecureContext(tls)
  return tls
}

/** Files that cannot be used leave the certificate as it is: the two may be written one after the other. */
function followFiles(
  server: Server,
  { conditions, log, certFile, keyFile }: MetricsListenerOptions,
): () => void {
  let seen = stateOf({ certFile, keyFile })
  return () => {
    const state = stateOf({ certFile, keyFile })
    if (state === seen) return
    try {
      server.setSecureContext({ ...readTls({ certFile, keyFile }), minVersion: 'TLSv1.2' })
      seen = state
      conditions.clear('METRICS_TLS')
      log.info({ certFile }, 'the certificate for metrics was loaded')
    } catch (error) {
      conditions.raise('METRICS_TLS', '', { reason: (error as Error).message })
    }
  }
}

function stateOf({ certFile, keyFile }: MetricsTls): string {
  return [certFile, keyFile]
    .map((path) => statSync(path, { throwIfNoEntry: false }))
    .map((found) => (found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`))
    .join(' ')
}
