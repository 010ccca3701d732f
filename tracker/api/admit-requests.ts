import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { networkOf } from '../../core/network.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { type RequestBounds, RequestLimits } from '../request-limits.ts'
import { BodyBudget } from './body-budget.ts'
import { type ApiCaller, callerOf } from './caller.ts'

/** Bound of a body from anybody but a member: the token and public key of a join are 300 bytes. */
export const STRANGER_BODY_BYTES_MAX = 4 * 1024
/** A body counts as one more request per this many bytes: the largest inventory (670 KB, about 25 ms) counts as 84. */
const BYTES_PER_REQUEST = 8 * 1024
/** A refused member may keep its connection if at most this much of the request is unread. */
const UNREAD_BYTES_MAX = 64 * 1024

declare module 'fastify' {
  interface FastifyRequest {
    caller: ApiCaller
  }
  interface FastifyContextConfig {
    /** Admits callers without a member's certificate; the route checks them itself. */
    isOpen?: boolean
    /** Answers also while the tracker was restored and waits for its operator. */
    isWhileRestored?: boolean
  }
}

/**
 * Checks for every route of the listener who may call it and how much they may send, before a byte of the body is read.
 * Call it before routes are added.
 */
export function admitRequests(app: FastifyInstance, parts: TrackerParts, bounds: RequestBounds): void {
  const limits = new RequestLimits(bounds, parts.log)
  const bodies = new BodyBudget()
  app.decorateRequest('caller', undefined as never)
  app.addHook('onRequest', async (request, reply) => {
    const caller = await callerOf(parts, request.raw.socket as TLSSocket)
    request.caller = caller
    const bytes = announcedBytes(request)
    if (caller.kind === 'stranger') {
      reply.header('connection', 'close')
      if (caller.refusal.code === 'CERTIFICATE_REFUSED') parts.restored.noteForeign(caller.key)
    }
    try {
      // A stranger's body is too small to count as a second request.
      const cost = caller.kind === 'member' ? 1 + bytes / BYTES_PER_REQUEST : 1
      atEnd(reply, limits.enter(caller.key, parts.nowMs(), cost))
      if (request.routeOptions.config.isWhileRestored !== true) parts.restored.checkGranting()
      checkMay(request, caller)
      checkBytes(request, caller, bytes)
      if (caller.kind === 'member') {
        atEnd(reply, bodies.reserve(networkOf(caller.node.address), bytes))
      }
    } catch (error) {
      if (bytes > UNREAD_BYTES_MAX) reply.header('connection', 'close')
      throw error
    }
  })
}

/** @throws the caller's refusal if it is not a member */
export function memberIn(caller: ApiCaller): NodeCaller {
  if (caller.kind === 'member') return caller.node
  throw caller.kind === 'stranger' ? caller.refusal : pullCertificate()
}

function checkMay({ routeOptions }: FastifyRequest, caller: ApiCaller): void {
  if (routeOptions.config.isOpen !== true) memberIn(caller)
}

function checkBytes({ routeOptions }: FastifyRequest, { kind }: ApiCaller, bytes: number): void {
  const bytesMax = kind === 'member' ? routeOptions.bodyLimit! : STRANGER_BODY_BYTES_MAX
  if (bytes > bytesMax) throw new RefusedError('BODY_TOO_LARGE', 'the request body is too large')
}

function pullCertificate(): RefusedError {
  return new RefusedError('CERTIFICATE_KIND', 'a pull certificate does not open this part of the API')
}

/** The body's length; without a length header the largest that the route may read. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return routeOptions.bodyLimit!
  return Number(headers['content-length'] ?? 0)
}

function atEnd(reply: FastifyReply, act: () => void): void {
  reply.raw.once('close', act)
}
