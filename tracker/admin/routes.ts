import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { CALL_NAMES, CALLS, type CallName, callOf } from '../../core/admin-api/calls.ts'
import { openApiDocument } from '../../core/admin-api/openapi.ts'
import { isLoopbackAddress } from '../../core/network.ts'
import { checked } from '../api/checked-input.ts'
import { type AdminCaller, checkRight, OPERATOR } from './callers.ts'
import { EventStreams } from './event-stream.ts'
import type { AdminParts, Asked, Source } from './handler.ts'
import { handlersOf } from './handlers.ts'

/** The admin API, version 1: one route for each call of the table (core/admin-api/calls.ts). */

/** Who asks is known before the body is read. */
const callers = new WeakMap<FastifyRequest, AdminCaller>()
/** A call without a body takes none, or an empty one. */
const nothing = z.strictObject({}).nullish()
const DOCUMENT_PATH = '/admin/v1/openapi.json'

export interface AdminRoutes {
  /** @throws RefusedError if the caller is not an administrator */
  callerOf(request: FastifyRequest): AdminCaller
  /** Counts a request of the caller. @returns a function that ends it @throws TooManyRequestsError */
  enter?(caller: AdminCaller): () => void
  /** On the socket: calls that are possible nowhere else have a route too. */
  isLocal: boolean
}

export function adminRoutes(
  app: FastifyInstance,
  parts: AdminParts,
  { callerOf, enter, isLocal }: AdminRoutes,
): void {
  const handlers = handlersOf(parts)
  const streams = new EventStreams()
  const admit = (request: FastifyRequest, name: CallName) => {
    const caller = callerOf(request)
    checkRight(caller, CALLS[name].right)
    callers.set(request, caller)
    return caller
  }
  for (const name of CALL_NAMES) {
    const { method, path, right, status, isStream, params, query, body, answer } = callOf(name)
    if (right === 'local' && !isLocal) continue
    const takesBody = Object.keys(body.shape).length > 0
    const handle = handlers[name] as (input: object, by: Asked) => unknown
    const follow = handlers[name] as Source<'events.follow'>
    app.route({
      method,
      url: path,
      onRequest: async (request, reply) => {
        const caller = admit(request, name)
        if (enter !== undefined) reply.raw.once('close', enter(caller))
      },
      handler: async (request, reply) => {
        const input = {
          ...checked(params, request.params),
          ...checked(query, request.query),
          ...checked(takesBody ? body : nothing, request.body),
        }
        if (isStream) {
          return streams.send(
            request,
            reply,
            (signal) => follow({ after: lastKnown(request), ...input }, signal),
            () => admit(request, name),
          )
        }
        const caller = callers.get(request)!
        const answered = await handle(input, { caller, actor: caller.name, nowMs: parts.nowMs() })
        reply.code(status)
        return answer.parse(answered)
      },
    })
  }
  const document = openApiDocument()
  app.get(DOCUMENT_PATH, { onRequest: async (request) => admit(request, 'self.show') }, async () => document)
  machineRoutes(app, parts, callerOf)
}

/** A reader that connects again says what it had. */
function lastKnown({ headers }: FastifyRequest): number | undefined {
  const id = headers['last-event-id']
  return typeof id === 'string' && /^\d{1,15}$/.test(id) ? Number(id) : undefined
}

/** For programs that watch the tracker: anybody on its machine, elsewhere administrators of any role. */
function machineRoutes(
  app: FastifyInstance,
  { conditions, restored, metrics }: AdminParts,
  callerOf: AdminRoutes['callerOf'],
): void {
  const isElsewhere = ({ ip }: FastifyRequest) => ip !== undefined && !isLoopbackAddress(ip)
  app.get('/healthz', async (request) => {
    const { status, codes } = conditions.health()
    return {
      status: restored.isGranting ? status : 'restored',
      ...(codes.length > 0 && !isElsewhere(request) && { codes }),
    }
  })
  app.get('/metrics', async (request, reply) => {
    if (isElsewhere(request)) callerOf(request)
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })
}

/** The socket's only callers. */
export const LOCAL: AdminRoutes = { callerOf: () => OPERATOR, isLocal: true }
