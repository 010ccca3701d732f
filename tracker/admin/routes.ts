import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { clusterIdSchema, nodeIdSchema } from '../../core/tracker-api.ts'
import { checked } from '../api/checked-input.ts'
import type { Cluster, Rotation } from '../authority/cluster.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import type { RevocationTarget } from '../authority/revocations.ts'
import { reseal } from '../authority/sealer.ts'
import type { KeyRotation } from '../authority/signing-key.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy } from '../store/store.ts'
import { ADMIN_CERTIFICATE_SECONDS_MAX, type AdminAuthorities, shortOf } from './admin-authority.ts'
import type { JoinAddress } from './join-token-routes.ts'
import { joinTokenRoutes, joinTokenSeconds, sha256Hex } from './join-token-routes.ts'
import { pauseRoutes } from './pause-routes.ts'
import { restoreRoutes } from './restore-routes.ts'
import { tokenKeyRoutes } from './token-key-routes.ts'

/** The admin API, version 1. No answer has a secret: tokens arrive as hashes, and keys never leave. */

const newCluster = z.strictObject({
  cluster: clusterIdSchema,
  name: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and hyphens'),
  joinTokenHash: sha256Hex,
  joinTokenValidForSeconds: joinTokenSeconds,
})
const newKey = z.strictObject({ isLeaked: z.boolean().default(false) })
const withdrawal = z.strictObject({ isForced: z.boolean() })
const unlockKey = z.string().max(128)
const unlockKeys = z.strictObject({ unlockKey, newUnlockKey: unlockKey.optional() })
const newRevocation = z.union([
  z.strictObject({ cluster: clusterIdSchema, node: nodeIdSchema }),
  z.strictObject({ cluster: clusterIdSchema, pull: z.string().regex(/^[0-9a-f]{32}$/) }),
])
const newCertificate = z.strictObject({
  /** SubjectPublicKeyInfo (DER) of an ECDSA P-256 key; the caller keeps the private key. */
  publicKey: z.string().max(200),
  validForSeconds: z.int().min(60).max(ADMIN_CERTIFICATE_SECONDS_MAX),
})
const sequence = z.coerce.number().int().positive()
const auditQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  before: sequence.optional(),
})
const nodesQuery = z.strictObject({ cluster: clusterIdSchema.optional() })

type ClusterRoute = { Params: { cluster: string } }
type RevocationRoute = { Params: { sequence: string } }

export interface AdminParts extends TrackerParts {
  admins: AdminAuthorities
  /** For join strings. */
  joinAddress: JoinAddress
  /**
   * The caller's name, for the audit log.
   * @throws RefusedError if the caller is not an administrator
   */
  actorOf(request: FastifyRequest): string
}

export function adminRoutes(app: FastifyInstance, parts: AdminParts): void {
  app.get('/healthz', async () => {
    const { status, codes } = parts.conditions.health()
    return { status: parts.restored.isGranting ? status : 'restored', ...(codes.length > 0 && { codes }) }
  })
  app.get('/metrics', async (_request, reply) => {
    reply.type(parts.metrics.registry.contentType)
    return parts.metrics.registry.metrics()
  })
  app.register(async (admin) => {
    admin.addHook('onRequest', async (request) => void parts.actorOf(request))
    clusterRoutes(admin, parts)
    joinTokenRoutes(admin, parts, (request) => byAdmin(parts, request))
    signingKeyRoutes(admin, parts)
    revocationRoutes(admin, parts)
    tokenKeyRoutes(admin, parts, (request) => byAdmin(parts, request))
    pauseRoutes(admin, parts, (request) => byAdmin(parts, request))
    restoreRoutes(admin, parts, (request) => byAdmin(parts, request))
    adminAuthorityRoutes(admin, parts)
    admin.get('/admin/v1/registries', async () => ({ registries: parts.kindsFound.news.list }))
    admin.get('/admin/v1/nodes', async (request) => {
      const { cluster } = checked(nodesQuery, request.query)
      return { nodes: await parts.store.nodes(cluster) }
    })
    admin.post('/admin/v1/reseal', async (request) => {
      const keys = checked(unlockKeys, request.body)
      return { sealed: await reseal(parts.store, parts.sealer, keys, byAdmin(parts, request)) }
    })
    admin.get('/admin/v1/audit', async (request) => {
      const { limit, before } = checked(auditQuery, request.query)
      const page = before === undefined ? { limit } : { limit, beforeSequence: before }
      return { entries: await parts.store.audit(page) }
    })
  })
}

/**
 * Certifies an administrator. Only on the socket: over TLS a stolen certificate could request the next one, and would
 * never end.
 */
export function certificateRoute(app: FastifyInstance, parts: AdminParts): void {
  app.post('/admin/v1/certificates', async (request, reply) => {
    const { publicKey, validForSeconds } = checked(newCertificate, request.body)
    const spki = checkedP256Spki(Buffer.from(publicKey, 'base64url'))
    const issued = await parts.admins.issue(spki, validForSeconds, byAdmin(parts, request))
    reply.code(201)
    return issued
  })
}

/**
 * The administrator of this certificate. Checked at every request, because a connection may outlive its certificate and
 * the authority that issued it.
 */
export function certifiedAdmin(
  { admins, nowMs }: { admins: AdminAuthorities; nowMs: () => number },
  request: FastifyRequest,
): string {
  const socket = request.raw.socket as TLSSocket
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) {
    throw new RefusedError('CERTIFICATE_REQUIRED', 'an admin certificate is required')
  }
  // TLS has already checked that it is for clients, and the chain at that time.
  const isLive = certificate.validToDate.getTime() > nowMs()
  if (!socket.authorized || !isLive || !admins.hasIssued(certificate)) {
    throw new RefusedError(
      'CERTIFICATE_REFUSED',
      'the admin authority did not issue the certificate, or it has ended',
    )
  }
  return `admin ${shortOf(certificate)}`
}

function adminAuthorityRoutes(app: FastifyInstance, parts: AdminParts): void {
  const { admins } = parts
  app.post('/admin/v1/admin-authorities', async (request, reply) => {
    const rotation = await admins.rotate(checked(newKey, request.body), byAdmin(parts, request))
    reply.code(201)
    return { previousEndsAtMs: rotation?.previousEndsAtMs ?? null }
  })
  app.post('/admin/v1/admin-authorities/withdrawal', async (request) => {
    checked(z.strictObject({}), request.body)
    await admins.withdraw(byAdmin(parts, request))
    return {}
  })
}

function clusterRoutes(app: FastifyInstance, parts: AdminParts): void {
  app.post('/admin/v1/clusters', async (request, reply) => {
    const asked = checked(newCluster, request.body)
    const joinToken = { hash: asked.joinTokenHash, validForSeconds: asked.joinTokenValidForSeconds }
    const cluster = await parts.clusters.create({ ...asked, joinToken }, byAdmin(parts, request))
    reply.code(201)
    return { cluster: cluster.cluster, name: cluster.name }
  })
  app.get('/admin/v1/clusters', async () => ({ clusters: parts.clusters.list().map(clusterMessage) }))
  app.post<ClusterRoute>('/admin/v1/clusters/:cluster/authorities', async (request, reply) => {
    const cluster = checked(clusterIdSchema, request.params.cluster)
    const how = checked(newKey, request.body)
    const rotation = await parts.clusters.addAuthority(cluster, how, byAdmin(parts, request))
    reply.code(201)
    return { cluster, rotation: rotationMessage(rotation) }
  })
  app.post<ClusterRoute>('/admin/v1/clusters/:cluster/authorities/withdrawal', async (request) => {
    const cluster = checked(clusterIdSchema, request.params.cluster)
    const how = checked(withdrawal, request.body)
    return { cluster, ...(await parts.clusters.withdrawAuthority(cluster, how, byAdmin(parts, request))) }
  })
}

function signingKeyRoutes(app: FastifyInstance, parts: AdminParts): void {
  app.post<ClusterRoute>('/admin/v1/clusters/:cluster/signing-keys', async (request, reply) => {
    const cluster = checked(clusterIdSchema, request.params.cluster)
    const how = checked(newKey, request.body)
    const rotation = await parts.clusters.addSigningKey(cluster, how, byAdmin(parts, request))
    reply.code(201)
    return { cluster, rotation: keyRotationMessage(rotation) }
  })
  app.post<ClusterRoute>('/admin/v1/clusters/:cluster/signing-keys/withdrawal', async (request) => {
    const cluster = checked(clusterIdSchema, request.params.cluster)
    const how = checked(withdrawal, request.body)
    await parts.clusters.withdrawSigningKey(cluster, how, byAdmin(parts, request))
    return { cluster }
  })
}

function clusterMessage({ cluster, name, trust, rotation, keyRotation }: Cluster) {
  return {
    cluster,
    name,
    /** The first one issues certificates. */
    authorities: trust.authorities,
    rotation: rotation === undefined ? null : rotationMessage(rotation),
    /** Raw public keys in base64url; the first one signs. */
    signingKeys: trust.batchKeys,
    keyRotation: keyRotation === undefined ? null : keyRotationMessage(keyRotation),
  }
}

function rotationMessage({ issuesAtMs, previousEndsAtMs }: Rotation) {
  return { issuesAtMs, previousEndsAtMs }
}

function keyRotationMessage({ signsAtMs, previousEndsAtMs }: KeyRotation) {
  return { signsAtMs, previousEndsAtMs }
}

function revocationRoutes(app: FastifyInstance, parts: AdminParts): void {
  app.get('/admin/v1/revocations', async () => ({ revocations: parts.revocations.list() }))
  app.post('/admin/v1/revocations', async (request, reply) => {
    const asked = checked(newRevocation, request.body)
    parts.clusters.get(asked.cluster)
    const target =
      'node' in asked ? ({ kind: 'node', node: asked.node } as const) : await pullTarget(parts, asked)
    const revocation = await parts.revocations.revoke(asked.cluster, target, byAdmin(parts, request))
    if (target.kind === 'node') parts.peers.of(asked.cluster).forget(target.node)
    reply.code(201)
    return { revocation }
  })
  app.delete<RevocationRoute>('/admin/v1/revocations/:sequence', async (request) => {
    const revocation = checked(sequence, request.params.sequence)
    await parts.revocations.clear(revocation, byAdmin(parts, request))
    return { revocation }
  })
}

async function pullTarget(
  parts: TrackerParts,
  asked: { cluster: string; pull: string },
): Promise<RevocationTarget> {
  const pull = await parts.store.pull(asked.pull)
  if (pull === undefined || pull.cluster !== asked.cluster) {
    throw new RefusedError('PULL_UNKNOWN', 'the cluster has no such pull')
  }
  return { kind: 'pull', pull: pull.pull, registry: pull.registry, subject: pull.subject }
}

function byAdmin(parts: AdminParts, request: FastifyRequest): ActedBy {
  return { actor: parts.actorOf(request), nowMs: parts.nowMs() }
}
