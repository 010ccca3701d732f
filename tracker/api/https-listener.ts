import { constants } from 'node:crypto'
import { Server as HttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { ListenAddress } from '../../core/config.ts'
import { ListenFailedError } from '../../core/errors.ts'
import type { TrackerMetrics } from '../metrics.ts'
import { ConnectionGate, type GateOptions } from './connection-gate.ts'
import { answerErrors, answerUnreadableUrl } from './error-answers.ts'
import { readJsonBodies } from './json-body.ts'

/**
 * An HTTPS listener that asks for client certificates without insisting: joining needs none. Whoever needs one reads
 * the verdict itself (caller.ts, admin/).
 */

export interface TlsMaterial {
  certificatePem: string
  privateKeyPem: string
  /** Authorities of client certificates; those of the system never count. */
  authorityPems: string[]
}

/** A handshake takes milliseconds; this bounds one that is never finished. */
const HANDSHAKE_PATIENCE_MS = 10_000
/** A request's headers come in one packet; also from the handshake to the first of them. */
const HEADERS_PATIENCE_MS = 5_000
/** From a request's first byte to the last of its body: nodes wait no longer for the answer than 10 s. */
const REQUEST_PATIENCE_MS = 15_000
/** How often these are looked at. */
const PATIENCE_LOOK_MS = 1_000
/** Above the heartbeat interval, so that a node keeps one connection. */
const KEEP_ALIVE_MS = 75_000
/** Bound of a request's body where a route sets no other: a pull of 128 blobs with a 32 KiB token. */
export const BODY_BYTES_MAX = 256 * 1024
/** Ids in paths have at most 64 characters. */
const PARAM_CHARS_MAX = 128

/** Forward secrecy and authenticated encryption only (Mozilla's "intermediate", without its CBC and DHE rest). */
const SUITES = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/** TLS options; sessions are never resumed, as a resumed one keeps a client certificate beyond its end. */
export function tlsOptions({ certificatePem, privateKeyPem, authorityPems }: TlsMaterial): ServerOptions {
  return {
    cert: certificatePem,
    key: privateKeyPem,
    // An empty list is a list: without one Node would trust the system's authorities.
    ca: authorityPems,
    minVersion: 'TLSv1.2',
    ciphers: SUITES,
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    requestCert: true,
    rejectUnauthorized: false,
  }
}

export interface HttpsListener {
  app: FastifyInstance
  server: HttpsServer
}

/** @param memberOn names the member whose certificate a connection has shown */
export function makeHttpsListener(
  tls: TlsMaterial,
  { log, metrics }: { log: Logger; metrics: TrackerMetrics },
  memberOn: GateOptions['memberOn'],
): HttpsListener {
  const server = new HttpsServer({
    ...tlsOptions(tls),
    handshakeTimeout: HANDSHAKE_PATIENCE_MS,
    headersTimeout: HEADERS_PATIENCE_MS,
    requestTimeout: REQUEST_PATIENCE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: PATIENCE_LOOK_MS,
  })
  const gate = new ConnectionGate(server, { memberOn, metrics })
  const app: FastifyInstance = Fastify({
    serverFactory: (handler) => server.on('request', handler),
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    frameworkErrors: answerUnreadableUrl,
    routerOptions: { maxParamLength: PARAM_CHARS_MAX },
  }) as never
  app.addHook('preClose', async () => gate.close())
  readJsonBodies(app)
  answerErrors(app, log, metrics)
  timeRequests(app, metrics)
  return { app, server }
}

/** @param purpose the config key @throws ListenFailedError */
export async function listen(
  { app, server }: HttpsListener,
  purpose: string,
  { host, port }: ListenAddress,
): Promise<ListenAddress> {
  await app.listen({ host, port }).catch((cause: Error) => {
    throw new ListenFailedError(purpose, { host, port }, cause)
  })
  return { host, port: (server.address() as AddressInfo).port }
}

function timeRequests(app: FastifyInstance, metrics: TrackerMetrics): void {
  app.addHook('onResponse', async (request, reply) => {
    metrics.requestSeconds.observe({ route: request.routeOptions.url ?? 'unknown' }, reply.elapsedTime / 1000)
  })
}
