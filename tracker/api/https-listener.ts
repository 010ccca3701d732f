import { constants } from 'node:crypto'
import { Server as HttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { ListenAddress } from '../../core/config.ts'
import { ListenFailedError } from '../../core/errors.ts'
import type { TrackerMetrics } from '../metrics.ts'
import { ConnectionGate, type GateOptions } from './connection-gate.ts'
import { answerErrors, answerUnreadableUrl } from './error-answers.ts'
import { readJsonBodies } from './json-body.ts'

/**
 * An HTTPS listener that requests client certificates but does not require them, because joining needs none. Code that
 * requires one reads the TLS verdict itself (caller.ts, admin/).
 */

export interface TlsMaterial {
  certificatePem: string
  privateKeyPem: string
  /** Authorities of client certificates; the system's never count. */
  authorityPems: string[]
}

/** A handshake takes milliseconds; this bounds one that never ends. */
const HANDSHAKE_PATIENCE_MS = 10_000
/** A request's headers come in one packet. Also bounds the time from the handshake to the first header. */
const HEADERS_PATIENCE_MS = 5_000
/** From a request's first byte to the last of its body: nodes wait at most 10 s for the answer. */
const REQUEST_PATIENCE_MS = 15_000
/** How often these bounds are checked. */
const PATIENCE_LOOK_MS = 1_000
/** Longer than the heartbeat interval, so that a node keeps one connection. */
const KEEP_ALIVE_MS = 75_000
/** Default bound of a request's body: a pull of 128 blobs with a 48 KiB token. */
export const BODY_BYTES_MAX = 256 * 1024
/** Balancers whose refused connections were logged lately. */
const BALANCERS_LOGGED_MAX = 256
/** Pause between two lines in the log about one balancer. */
const HEADER_LOG_PAUSE_MS = 60_000
/** Ids in paths have at most 64 characters. */
const PARAM_CHARS_MAX = 128

/** Only forward secrecy and authenticated encryption (Mozilla's "intermediate" without its CBC and DHE suites). */
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

/** TLS options. Sessions are never resumed, as a resumed one keeps a client certificate beyond its end. */
export function tlsOptions({ certificatePem, privateKeyPem, authorityPems }: TlsMaterial): ServerOptions {
  return {
    cert: certificatePem,
    key: privateKeyPem,
    // An empty list is needed: without a list Node would trust the system's authorities.
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

/**
 * @param options.memberOn names the member whose certificate a connection presented
 * @param options.balancers who must begin with a PROXY header
 */
export function makeHttpsListener(
  tls: TlsMaterial,
  { log, metrics }: { log: Logger; metrics: TrackerMetrics },
  { memberOn, balancers }: Pick<GateOptions, 'memberOn' | 'balancers'>,
): HttpsListener {
  const server = new HttpsServer({
    ...tlsOptions(tls),
    handshakeTimeout: HANDSHAKE_PATIENCE_MS,
    headersTimeout: HEADERS_PATIENCE_MS,
    requestTimeout: REQUEST_PATIENCE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: PATIENCE_LOOK_MS,
  })
  const gate = new ConnectionGate(server, {
    ...{ memberOn, metrics },
    ...(balancers && { balancers, onHeaderRefused: headerRefusals(log) }),
  })
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

/** A balancer that sends no header does so for each connection: it is logged once in a minute. */
function headerRefusals(log: Logger): NonNullable<GateOptions['onHeaderRefused']> {
  const loggedAtMs = new BoundedMap<string, number>(BALANCERS_LOGGED_MAX)
  return ({ code, message }, balancer) => {
    if (performance.now() - (loggedAtMs.get(balancer) ?? Number.NEGATIVE_INFINITY) < HEADER_LOG_PAUSE_MS)
      return
    loggedAtMs.set(balancer, performance.now())
    log.error({ code, balancer, reason: message }, 'a connection of a balancer was refused')
  }
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
