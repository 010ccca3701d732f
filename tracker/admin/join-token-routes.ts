import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { clusterIdSchema } from '../../core/tracker-api.ts'
import { checked } from '../api/checked-input.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy } from '../store/store.ts'

/** Join tokens in the admin API. They arrive as hashes: only the administrator's command knows the token. */

/** Bound of the nodes that may join with one token. */
const USES_MAX = 1_000_000

export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'SHA-256 in hex expected')
export const joinTokenSeconds = z
  .int()
  .positive()
  .max(10 * 365 * 24 * 3600)
  .optional()
const replacement = z.strictObject({ hash: sha256Hex, validForSeconds: joinTokenSeconds })
const newJoinToken = replacement.extend({ usesMax: z.int().min(1).max(USES_MAX).optional() })
const tokenId = z.string().regex(/^[0-9a-f]{16}$/)

type ClusterRoute = { Params: { cluster: string } }
type TokenRoute = { Params: { cluster: string; token: string } }

/** Where nodes find this tracker, and how they recognise it before they trust anybody. */
export interface JoinAddress {
  /** `tracker.example.com:7443`, as `advertise` has them. */
  trackers: readonly string[]
  /** Of the authority in tlsCertFile (core/authority-pin.ts); null: the file does not have it. */
  authorityPin: string | null
}

export function joinTokenRoutes(
  app: FastifyInstance,
  {
    joinTokens,
    joinAddress,
    nowMs,
  }: Pick<TrackerParts, 'joinTokens' | 'nowMs'> & { joinAddress: JoinAddress },
  byAdmin: (request: FastifyRequest) => ActedBy,
): void {
  const clusterOf = (request: FastifyRequest<ClusterRoute>) =>
    checked(clusterIdSchema, request.params.cluster)
  app.get('/admin/v1/join-address', async () => joinAddress)
  /** Ends all earlier tokens of the cluster. */
  app.put<ClusterRoute>('/admin/v1/clusters/:cluster/join-token', async (request) => {
    const cluster = clusterOf(request)
    const token = checked(replacement, request.body)
    await joinTokens.add(cluster, token, { replaces: true }, byAdmin(request))
    return { cluster }
  })
  app.post<ClusterRoute>('/admin/v1/clusters/:cluster/join-tokens', async (request, reply) => {
    const token = checked(newJoinToken, request.body)
    const added = await joinTokens.add(clusterOf(request), token, { replaces: false }, byAdmin(request))
    reply.code(201)
    return { joinToken: added }
  })
  app.get<ClusterRoute>('/admin/v1/clusters/:cluster/join-tokens', async (request) => ({
    joinTokens: await joinTokens.list(clusterOf(request), nowMs()),
  }))
  app.delete<TokenRoute>('/admin/v1/clusters/:cluster/join-tokens/:token', async (request) => {
    const id = checked(tokenId, request.params.token)
    await joinTokens.withdraw(checked(clusterIdSchema, request.params.cluster), id, byAdmin(request))
    return {}
  })
}
