import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { batchesRequest } from '../../core/batches-api.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import {
  completeRequest,
  hashBatchToJson,
  hashesRequest,
  heartbeatRequest,
  joinRequest,
  mismatchRequest,
  pullRequest,
  renewRequest,
  swarmIdSchema,
} from '../../core/tracker-api.ts'
import type { NodeCaller, TrackerParts } from '../parts.ts'
import { grantPull } from '../pull/grant-pull.ts'
import { renewPull } from '../pull/renew-pull.ts'
import { completeBlob, reportMismatch } from '../swarm/finish-blob.ts'
import { heartbeat } from '../swarm/heartbeat.ts'
import { publishHashes } from '../swarm/publish-hashes.ts'
import { renewBatches } from '../swarm/renew-batches.ts'
import { memberOn } from './caller.ts'
import { checked } from './checked-input.ts'
import { joinNode } from './join-node.ts'

/** Bounds of bodies: 4,096 hashes; 2^18 SHA-1 hashes; an inventory of 10,000 swarms with as many dropped. */
const HASHES_BODY_BYTES_MAX = 256 * 1024
const COMPLETE_BODY_BYTES_MAX = 9 * 1024 * 1024
const HEARTBEAT_BODY_BYTES_MAX = 2 * 1024 * 1024
/** Of a join, which comes from anyone: a token and a public key are 300 bytes. */
const JOIN_BODY_BYTES_MAX = 4 * 1024

type SwarmRoute = { Params: { swarm: string } }
type PullRoute = { Params: { pull: string } }

/** The nodes' API (messages: core/tracker-api.ts). Each route: who calls, what is asked, the step, the answer. */
export function nodeRoutes(app: FastifyInstance, parts: TrackerParts): void {
  const caller = (request: FastifyRequest) => memberOn(parts, socketOf(request))
  const swarmOf = (request: FastifyRequest<SwarmRoute>) => checked(swarmIdSchema, request.params.swarm)

  app.post('/v1/nodes', { bodyLimit: JOIN_BODY_BYTES_MAX }, (request) =>
    joinNode(parts, socketOf(request), checked(joinRequest, request.body)),
  )

  app.post('/v1/pulls', async (request) => {
    const answer = await grantPull(parts, await caller(request), checked(pullRequest, request.body))
    return { ...answer, swarms: answer.swarms.map(withJsonBatches) }
  })

  app.post<PullRoute>('/v1/pulls/:pull/renew', async (request) => {
    const node = await caller(request)
    return renewPull(parts, node, request.params.pull, checked(renewRequest, request.body))
  })

  app.post<SwarmRoute>('/v1/swarms/:swarm/hashes', { bodyLimit: HASHES_BODY_BYTES_MAX }, async (request) => {
    const node = await caller(request)
    return withJsonBatches(
      await publishHashes(parts, node, swarmOf(request), checked(hashesRequest, request.body)),
    )
  })

  app.post<SwarmRoute>('/v1/swarms/:swarm/batches', async (request) => {
    const node = await caller(request)
    return withJsonBatches(
      await renewBatches(parts, node, swarmOf(request), checked(batchesRequest, request.body)),
    )
  })

  app.post<SwarmRoute>(
    '/v1/swarms/:swarm/complete',
    { bodyLimit: COMPLETE_BODY_BYTES_MAX },
    async (request) => {
      const node = await caller(request)
      return withJsonBatches(
        await completeBlob(parts, node, swarmOf(request), checked(completeRequest, request.body)),
      )
    },
  )

  app.post<SwarmRoute>('/v1/swarms/:swarm/mismatch', async (request) => {
    const node = await caller(request)
    return reportMismatch(parts, node, swarmOf(request), checked(mismatchRequest, request.body))
  })

  app.post('/v1/heartbeat', { bodyLimit: HEARTBEAT_BODY_BYTES_MAX }, async (request) => {
    const node = await caller(request)
    const answer = await heartbeat(parts, node, checked(heartbeatRequest, request.body))
    if (answer.serveCertificate !== null) await recordServeCertificate(parts, node)
    return answer
  })
}

/** On record before it leaves, as every certificate. */
function recordServeCertificate(parts: TrackerParts, { cluster, node }: NodeCaller): Promise<void> {
  const action = 'serve certificate issued'
  const entry = { actor: `node ${node}`, action, cluster: cluster.cluster, target: node }
  return parts.store.addAudit({ atMs: parts.nowMs(), ...entry })
}

function socketOf(request: FastifyRequest): TLSSocket {
  return request.raw.socket as TLSSocket
}

function withJsonBatches<Answer extends { batches: HashBatch[] }>(answer: Answer) {
  return { ...answer, batches: answer.batches.map(hashBatchToJson) }
}
