import type { z } from 'zod'
import { type ClusterId, PIECE_HASH_BYTES, type SwarmId } from '../../core/metainfo.ts'
import type { hashesRequest, hashesResponse, Lease } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { endLeasesOf, silentHolders } from '../swarm/gone-holders.ts'
import { batchesFrom, batchOf, publishedRuns } from '../swarm/signed-batches.ts'
import type { SwarmState } from '../swarm/swarm-state.ts'
import { livePull } from './live-pull.ts'
import { settleDispute } from './settle-dispute.ts'
import { takeLease } from './take-lease.ts'

export type HashesQuestion = z.output<typeof hashesRequest>
export type HashesAnswer = z.output<typeof hashesResponse>

/** Nodes that waited for a registry's limit come back within this time, not all at once. */
const LIMIT_SPREAD_MS = 1_000

/**
 * Publishes hashes of leased pieces, gives a lease back or takes the next one, and hands out batches. One call and one
 * step carry everything that a fetching node reports about a swarm.
 * @throws RefusedError SWARM_NOT_GRANTED, EPOCH_STALE, LEASE_UNKNOWN, HASH_CONFLICT, and those of `livePull`
 */
export async function publishHashes(
  parts: TrackerParts,
  caller: NodeCaller,
  swarm: SwarmId,
  question: HashesQuestion,
): Promise<HashesAnswer> {
  const atMs = parts.nowMs()
  const pull = await livePull(parts, caller, question.pull)
  if (!pull.blobs.some((blob) => blob.swarm === swarm)) {
    throw new RefusedError('SWARM_NOT_GRANTED', 'the pull does not name this swarm')
  }
  const { cluster } = caller.cluster
  const work = (state: SwarmState, nowMs: number) => takeStep(parts, caller, state, { ...question, nowMs })
  const answer = await parts.swarms.step(cluster, swarm, work, { atMs, mayBeOlder: true })
  if (answer === 'conflict') {
    await noteEpochRise(parts)
    await settleNewest(parts, cluster, swarm, caller)
    throw new RefusedError(
      'HASH_CONFLICT',
      'two nodes published different hashes: the pieces are fetched again',
    )
  }
  const isWaiting = question.wantsLease && answer.lease === null && answer.status === 'cold'
  const freed = isWaiting ? await leaseOfGone(parts, caller, swarm, question) : null
  if (freed !== null) Object.assign(answer, { lease: freed, retryInMs: null })
  if (answer.lease !== null) parts.metrics.leases.inc()
  const peers = parts.peers.of(cluster).choose(swarm, {
    asker: caller.node,
    random: parts.random,
    nowMs: parts.nowMs(),
  })
  return { ...answer, peers }
}

/** Nobody waits for a holder that is gone: what it held is leased anew. */
async function leaseOfGone(
  parts: TrackerParts,
  caller: NodeCaller,
  swarm: SwarmId,
  { pull, position, awaited }: HashesQuestion,
): Promise<Lease | null> {
  const { cluster } = caller.cluster
  const silent = (state: SwarmState) => silentHolders(state, caller.node, parts.nowMs())
  const holders = await parts.swarms.step(cluster, swarm, silent, { mayBeOlder: true })
  const gone = await parts.goneHolders.among(cluster, holders)
  if (gone.size === 0) return null
  return await parts.swarms.step(cluster, swarm, (state, nowMs) => {
    endLeasesOf(gone, state, nowMs)
    return takeLease(parts, state, { caller, pull, position, awaited, nowMs })
  })
}

/** One of two publishers is wrong. Nobody waits for the verdict: the pieces are fetched again in any case. */
async function settleNewest(parts: TrackerParts, cluster: ClusterId, swarm: SwarmId, { node }: NodeCaller) {
  const { identity, dispute } = await parts.swarms.step(cluster, swarm, (state) => {
    return { identity: state.identity, dispute: state.newestDispute }
  })
  if (dispute?.reporter === node) void settleDispute(parts, identity, dispute)
}

/** Nodes hear of the new epoch with their next heartbeat. */
export async function noteEpochRise(parts: TrackerParts): Promise<void> {
  parts.metrics.epochRises.inc()
  await parts.epochs.refresh()
}

function takeStep(
  parts: TrackerParts,
  caller: NodeCaller,
  state: SwarmState,
  question: HashesQuestion & { nowMs: number },
): Omit<HashesAnswer, 'peers'> | 'conflict' {
  const { nowMs } = question
  const key = caller.cluster.signingKey.batchKey
  const hashes = Buffer.from(question.hashes, 'base64url')
  if (hashes.length > 0 && publish(parts, caller, state, question, hashes) === 'conflict') return 'conflict'
  // Before the next lease is taken: a holder that asks for more keeps what it has requested, and no more.
  const leaseEnd =
    question.requestedTo === undefined
      ? undefined
      : state.requested(question.lease, caller.node, question.requestedTo)
  if (question.isLeaseReleased && question.lease !== null) state.release(question.lease, caller.node)
  const { cluster, registry } = state.identity
  if (question.registryLimitedMs !== undefined) {
    const witness = { node: caller.node, forMs: question.registryLimitedMs, nowMs }
    parts.registryLimits.note(cluster, registry, witness)
  }
  const limitedMs = parts.registryLimits.leftMs(cluster, registry, nowMs)
  if (question.isRangeIgnored) state.sawRangeIgnored(caller.node, nowMs)
  const { pull, position, awaited } = question
  const lease = question.wantsLease
    ? takeLease(parts, state, { caller, pull, position, awaited, nowMs })
    : null
  const pieces = hashes.length / PIECE_HASH_BYTES
  const published = publishedRuns(state, question.firstPiece, question.firstPiece + pieces).map((run) =>
    batchOf(state, key, run.firstPiece, run.pieces),
  )
  const askedFor = question.batchesFrom === null ? [] : batchesFrom(state, key, question.batchesFrom)
  const retryInMs = () => {
    const random = parts.random()
    if (limitedMs > 0) return Math.round(limitedMs + random * LIMIT_SPREAD_MS)
    return state.retryInMs(awaited, { nowMs, random }) ?? null
  }
  return {
    epoch: state.epoch,
    status: state.status,
    batches: [...published, ...askedFor],
    lease,
    ...(leaseEnd !== undefined && { leaseEnd }),
    retryInMs: lease === null ? retryInMs() : null,
  }
}

function publish(
  parts: TrackerParts,
  caller: NodeCaller,
  state: SwarmState,
  { pull, lease, epoch, firstPiece, nowMs }: HashesQuestion & { nowMs: number },
  hashes: Buffer,
): 'published' | 'conflict' {
  const leaseMs = parts.times.leaseSeconds * 1000
  return state.publish({ node: caller.node, pull, lease, epoch, firstPiece, hashes, nowMs, leaseMs })
}
