import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { batchesRequest } from '../../core/batches-api.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import { joinRequest } from '../../core/join-api.ts'
import { leaveRequest } from '../../core/leave-api.ts'
import { mismatchRequest } from '../../core/mismatch-api.ts'
import { reachRequest } from '../../core/reach-api.ts'
import {
  completeRequest,
  hashBatchToJson,
  hashesRequest,
  heartbeatRequest,
  NODE_SWARMS_MAX,
  pullRequest,
  renewRequest,
  swarmIdSchema,
} from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { completeBlob, reportMismatch } from '../calls/finish-blob.ts'
import { grantPull } from '../calls/grant-pull.ts'
import { heartbeat, heartbeatWhileRestored } from '../calls/heartbeat.ts'
import { publishHashes } from '../calls/publish-hashes.ts'
import { reach } from '../calls/reach.ts'
import { renewBatches } from '../calls/renew-batches.ts'
import { renewPull } from '../calls/renew-pull.ts'
import type { TrackerParts } from '../parts.ts'
import { memberIn, STRANGER_BODY_BYTES_MAX } from './admit-requests.ts'
import { checked } from './checked-input.ts'
import { joinNode } from './join-node.ts'
import { leaveNode } from './leave-node.ts'

/** Bounds of bodies: 4,096 hashes; 2^18 SHA-1 hashes; an inventory of 10,000 swarms with as many dropped, and all copies of revocations. */
const HASHES_BODY_BYTES_MAX = 256 * 1024
const COMPLETE_BODY_BYTES_MAX = 9 * 1024 * 1024
const HEARTBEAT_BODY_BYTES_MAX = 2 * 1024 * 1024
/** Bound of its values: three per swarm and one per dropped swarm; half as many again for everything else. */
const HEARTBEAT_VALUES_MAX = 6 * NODE_SWARMS_MAX

type SwarmRoute = { Params: { swarm: string } }
type PullRoute = { Params: { pull: string } }

/** The nodes' API (messages: core/tracker-api.ts). Each route finds the caller, checks the question, runs the step, answers. */
export function nodeRoutes(app: FastifyInstance, parts: TrackerParts): void {
  const caller = ({ caller }: FastifyRequest) => memberIn(caller)
  const swarmOf = (request: FastifyRequest<SwarmRoute>) => checked(swarmIdSchema, request.params.swarm)

  const join = { bodyLimit: STRANGER_BODY_BYTES_MAX, config: { isOpen: true } }
  app.post('/v1/nodes', join, (request) =>
    joinNode(parts, socketOf(request), checked(joinRequest, request.body)),
  )

  app.post('/v1/nodes/leave', (request) => {
    checked(leaveRequest, request.body)
    return leaveNode(parts, caller(request))
  })

  app.post('/v1/reach', (request) => reach(parts, caller(request), checked(reachRequest, request.body)))

  app.post('/v1/pulls', async (request) => {
    const { socket } = request.raw
    const question = checked(pullRequest, request.body)
    const answer = await grantPull(parts, caller(request), question, () => socket.destroyed)
    return { ...answer, swarms: answer.swarms.map(withJsonBatches) }
  })

  app.post<PullRoute>('/v1/pulls/:pull/renew', async (request) => {
    const node = caller(request)
    const asked = checked(renewRequest, request.body)
    parts.renewLimits.enter(`${node.cluster.cluster}/${node.node}`, parts.nowMs())()
    return renewPull(parts, node, request.params.pull, asked)
  })

  app.post<SwarmRoute>('/v1/swarms/:swarm/hashes', { bodyLimit: HASHES_BODY_BYTES_MAX }, async (request) => {
    const node = caller(request)
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
      const node = caller(request)
      return withJsonBatches(
        await completeBlob(parts, node, swarmOf(request), checked(completeRequest, request.body)),
      )
    },
  )

  app.post<SwarmRoute>('/v1/swarms/:swarm/mismatch', async (request) => {
    const node = caller(request)
    return reportMismatch(parts, node, swarmOf(request), checked(mismatchRequest, request.body))
  })

  const beat = {
    bodyLimit: HEARTBEAT_BODY_BYTES_MAX,
    config: { jsonValuesMax: HEARTBEAT_VALUES_MAX, isWhileRestored: true },
  }
  app.post('/v1/heartbeat', beat, async (request) => {
    const node = caller(request)
    const question = checked(heartbeatRequest, request.body)
    if (question.copies !== undefined)
      await parts.restored.hear(node.cluster.cluster, node.node, question.copies)
    if (!parts.restored.isGranting) return heartbeatWhileRestored(parts, node, question)
    // Together: a call that is refused must not have spent anything.
    const wanted = Number(question.servePublicKey !== null) + Number(question.wantsLinkCertificate)
    if (wanted > 0) limitCertificates(parts, node, wanted)
    const answer = await heartbeat(parts, node, question)
    if (answer.serveCertificate !== null) await recordCertificate(parts, node, 'serve')
    if (answer.linkCertificate != null) await recordCertificate(parts, node, 'link')
    return answer
  })
}

/** Limits certificates, because each leaves a line in the audit log. */
function limitCertificates(parts: TrackerParts, { cluster, node }: NodeCaller, count = 1): void {
  parts.certificateLimits.enter(`${cluster.cluster}/${node}`, parts.nowMs(), count)()
}

/** Like every certificate, it is on record before it leaves. */
function recordCertificate(
  parts: TrackerParts,
  { cluster, node }: NodeCaller,
  kind: 'serve' | 'link',
): Promise<void> {
  const action = `${kind} certificate issued`
  const entry = { actor: `node ${node}`, action, cluster: cluster.cluster, target: node }
  return parts.store.addAudit({ atMs: parts.nowMs(), ...entry })
}

function socketOf(request: FastifyRequest): TLSSocket {
  return request.raw.socket as TLSSocket
}

function withJsonBatches<Answer extends { batches: HashBatch[] }>(answer: Answer) {
  return { ...answer, batches: answer.batches.map(hashBatchToJson) }
}
