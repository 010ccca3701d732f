import type { z } from 'zod'
import type { SwarmId } from '../../core/metainfo.ts'
import type { mismatchRequest, mismatchResponse } from '../../core/mismatch-api.ts'
import { PIECE_SHA1_BYTES } from '../../core/torrent.ts'
import type { completeRequest, completeResponse } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { batchesFrom } from '../swarm/signed-batches.ts'
import type { SwarmState } from '../swarm/swarm-state.ts'
import { hasGrantOnRecord } from './granted.ts'
import { noteEpochRise } from './publish-hashes.ts'
import { settleDispute } from './settle-dispute.ts'

export type CompleteQuestion = z.output<typeof completeRequest>
export type CompleteAnswer = z.output<typeof completeResponse>
export type MismatchQuestion = z.output<typeof mismatchRequest>
export type MismatchAnswer = z.output<typeof mismatchResponse>

/**
 * The node has the whole blob. The second distinct match of the whole digest confirms the hashes.
 * @throws RefusedError SWARM_NOT_GRANTED, INVALID_INPUT
 */
export async function completeBlob(
  parts: TrackerParts,
  caller: NodeCaller,
  swarm: SwarmId,
  question: CompleteQuestion,
): Promise<CompleteAnswer> {
  await checkGranted(parts, caller, swarm)
  const { cluster } = caller.cluster
  const sha1 = question.piecesSha1 === null ? undefined : Buffer.from(question.piecesSha1, 'base64url')
  const { epoch, matched } = question
  const step = await parts.swarms.step(cluster, swarm, (state) => {
    if (sha1 !== undefined && sha1.length !== state.layout.pieceCount * PIECE_SHA1_BYTES) {
      throw new RefusedError('INVALID_INPUT', `piecesSha1 is ${PIECE_SHA1_BYTES} bytes a piece`)
    }
    const before = state.status
    state.complete({ node: caller.node, epoch, matched })
    return { state, isNewlyConfirmed: before !== 'confirmed' && state.status === 'confirmed' }
  })
  if (step.isNewlyConfirmed) parts.metrics.confirmed.inc()
  await parts.store.completePullBlobs({ cluster, node: caller.node, swarm }, parts.nowMs())
  parts.peers.of(cluster).becameSeed(caller.node, swarm)
  if (sha1 !== undefined && epoch === step.state.epoch) await takeSha1(parts, caller, step.state, sha1)
  return completeAnswer(parts, caller, step.state)
}

/** Stores SHA-1 hashes once the swarm is confirmed and two nodes agree: stock clients check pieces with nothing else. */
async function takeSha1(
  parts: TrackerParts,
  { node }: NodeCaller,
  state: SwarmState,
  sha1: Buffer,
): Promise<void> {
  const { epoch, identity, status } = state
  if (state.hasPiecesSha1) return
  const isAgreed = parts.sha1Claims.take({ swarm: identity.swarm, epoch, node }, sha1, status === 'confirmed')
  if (!isAgreed) return
  await parts.store.putPiecesSha1(identity.swarm, node, sha1)
  state.gotPiecesSha1()
}

function completeAnswer(parts: TrackerParts, caller: NodeCaller, state: SwarmState): CompleteAnswer {
  const { status, epoch } = state
  const { swarm } = state.identity
  return {
    epoch,
    status,
    batches: status === 'confirmed' ? batchesFrom(state, caller.cluster.signingKey.batchKey, 0) : [],
    wantsSha1:
      !state.hasPiecesSha1 &&
      status !== 'cold' &&
      parts.sha1Claims.isAsked({ swarm, epoch, node: caller.node }, parts.nowMs()),
  }
}

/**
 * The node found the whole blob wrong. The tracker records both sides, has others fetch the pieces again, and checks
 * one of them itself.
 * @throws RefusedError SWARM_NOT_GRANTED, MISMATCH_UNFOUNDED, MISMATCH_TOO_OFTEN, INVALID_INPUT
 */
export async function reportMismatch(
  parts: TrackerParts,
  caller: NodeCaller,
  swarm: SwarmId,
  question: MismatchQuestion,
): Promise<MismatchAnswer> {
  await checkGranted(parts, caller, swarm)
  const pieces = question.pieces.map(({ piece, hash }) => ({ piece, hash: Buffer.from(hash, 'base64url') }))
  const { epoch, identity, dispute } = await parts.swarms.step(caller.cluster.cluster, swarm, (state) => {
    const before = state.newestDispute
    state.reportMismatch({ node: caller.node, epoch: question.epoch, pieces, nowMs: parts.nowMs() })
    const { newestDispute } = state
    // A report for an older epoch opened no dispute: the tracker must not fetch a piece for each such report.
    const dispute = newestDispute === before ? undefined : newestDispute
    return { epoch: state.epoch, identity: state.identity, dispute }
  })
  if (epoch === question.epoch) return { epoch }
  await noteEpochRise(parts)
  // Nobody waits for the verdict: the pieces are fetched again in any case.
  if (dispute !== undefined) void settleDispute(parts, identity, dispute)
  return { epoch }
}

/**
 * Only nodes that were granted the blob lately may report on it. All others get the same answer, even if the swarm does
 * not exist: a node must not learn which blobs a cluster has without a grant for them.
 */
async function checkGranted(parts: TrackerParts, caller: NodeCaller, swarm: SwarmId): Promise<void> {
  if (!(await hasGrantOnRecord(parts, caller, swarm))) {
    throw new RefusedError('SWARM_NOT_GRANTED', 'this node was not granted the blob')
  }
}
