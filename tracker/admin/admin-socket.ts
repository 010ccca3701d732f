import { createServer } from 'node:http'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { answerErrors, answerUnreadableUrl } from '../api/error-answers.ts'
import { readJsonBodies } from '../api/json-body.ts'
import type { AdminParts } from './handler.ts'
import { listenLocally } from './local-socket.ts'
import { adminRoutes, LOCAL } from './routes.ts'

/**
 * The admin API on a Unix socket in the data folder (docs/decisions/0004-admin-access.md). Only the tracker's own user and
 * root can open it, and they could also read the tracker's memory. So it needs no key at rest.
 */

/** Short, because requests come from the same machine. */
const REQUEST_PATIENCE_MS = 10_000

/** @returns a function that closes it @throws ConfigError */
export async function openAdminSocket(dataDir: string, parts: AdminParts): Promise<() => Promise<void>> {
  const server = createServer({ requestTimeout: REQUEST_PATIENCE_MS, headersTimeout: REQUEST_PATIENCE_MS })
  const app: FastifyInstance = Fastify({
    serverFactory: (handler) => server.on('request', handler),
    frameworkErrors: answerUnreadableUrl,
  })
  readJsonBodies(app)
  answerErrors(app, parts.log, parts.metrics)
  adminRoutes(app, parts, LOCAL)
  await app.ready()
  await listenLocally(server, join(dataDir, ADMIN_SOCKET))
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
    await app.close()
  }
}
