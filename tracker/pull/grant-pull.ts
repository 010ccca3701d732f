import { randomBytes } from 'node:crypto'
import type { z } from 'zod'
import type { Digest } from '../../core/digest.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { grantedSwarm, pullRequest, pullResponse } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../api/caller.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import { RefusedError } from '../errors.ts'
import { PEERS_HANDED_OUT_MAX } from '../handout/peers.ts'
import { type TrackerParts, trustOf } from '../parts.ts'
import type { PullRecord, SwarmIdentity } from '../store/store.ts'
import { ANSWER_PIECES_MAX, batchesFrom } from '../swarm/signed-batches.ts'
import { type VerifiedCredential, verifyCredential } from './credential.ts'
import { issuePullCertificate } from './pull-certificate.ts'

export type PullQuestion = z.output<typeof pullRequest>
export type PullAnswer = z.output<typeof pullResponse>
type SwarmAnswer = z.output<typeof grantedSwarm>
type WantedBlob = PullQuestion['blobs'][number]

/** HEAD requests under way for one pull: a caller with 128 blobs must not have the registry's pool to itself. */
const HEADS_PER_PULL_MAX = 8

/**
 * Grants a pull (DESIGN §2, step 4): who asks, with what credential, for which blobs of the repository; then the
 * certificate, and for every blob its swarm.
 * @throws RefusedError, RegistryTokenError, InvalidInputError
 */
export async function grantPull(
  parts: TrackerParts,
  caller: NodeCaller,
  question: PullQuestion,
): Promise<PullAnswer> {
  const spki = checkedP256Spki(Buffer.from(question.publicKey, 'base64url'))
  const registry = parts.registries.get(question.registry)
  if (registry === undefined)
    throw new RefusedError('REGISTRY_UNKNOWN', `${question.registry} is not configured`)
  const blobs = distinctBlobs(question.blobs)
  const nowMs = parts.nowMs()
  const credential = await verifyCredential(parts.tokenKeys, {
    registry,
    repository: question.repository,
    credential: question.credential,
    digests: blobs.map(({ digest }) => digest),
    nowMs,
  })
  const { cluster } = caller.cluster
  if (
    credential.subject !== '' &&
    parts.revocations.isSubjectBarred(cluster, registry.host, credential.subject)
  ) {
    throw new RefusedError('SUBJECT_REVOKED', "the token's subject is barred from pulling")
  }
  const { granted, refused } = await checkBlobs(parts, registry, question, blobs, credential)
  const pull = pullRecord(caller, question, { spki, nowMs, credential, granted })
  const issued = issuePullCertificate(caller.cluster, pull, {
    nowMs,
    validForSeconds: parts.times.pullCertificateSeconds,
  })
  pull.expiresAtMs = nowMs + issued.validForSeconds * 1000
  await parts.store.putPull(pull, {
    atMs: nowMs,
    actor: `node ${caller.node}`,
    action: 'pull granted',
    cluster,
    target: pull.pull,
  })
  parts.metrics.grants.inc()
  return {
    pull: pull.pull,
    ...issued,
    trust: trustOf(parts, caller.cluster),
    swarms: await joinSwarms(parts, caller, { question, pull, granted }),
    refused: refused.map(({ digest, reason }) => ({ digest, code: reason.code })),
    peerToken: null,
  }
}

interface Refused {
  digest: Digest
  reason: RefusedError
}

async function checkBlobs(
  parts: TrackerParts,
  registry: RegistryClient,
  { repository }: PullQuestion,
  blobs: readonly WantedBlob[],
  { authorization }: VerifiedCredential,
): Promise<{ granted: WantedBlob[]; refused: Refused[] }> {
  const granted: WantedBlob[] = []
  const refused: Refused[] = []
  const check = async (blob: WantedBlob) => {
    try {
      const { digest, bytes } = blob
      const nowMs = parts.nowMs()
      await parts.memberships.check({ registry, repository, digest, bytes, authorization, nowMs })
      granted.push(blob)
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      refused.push({ digest: blob.digest, reason: error })
    }
  }
  await inTurns(blobs, HEADS_PER_PULL_MAX, check)
  if (granted.length === 0) throw refused[0]!.reason
  return { granted: blobs.filter((blob) => granted.includes(blob)), refused }
}

/** Runs `work` for every item, at most `runningMax` at a time. */
async function inTurns<Item>(
  items: readonly Item[],
  runningMax: number,
  work: (item: Item) => Promise<void>,
) {
  const queue = items.values()
  const runner = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(runningMax, items.length) }, runner))
}

/** @throws RefusedError INVALID_INPUT when one digest comes with two sizes; a repetition is dropped */
function distinctBlobs(blobs: readonly WantedBlob[]): WantedBlob[] {
  const byDigest = new Map<Digest, WantedBlob>()
  for (const blob of blobs) {
    const known = byDigest.get(blob.digest)
    if (known !== undefined && known.bytes !== blob.bytes) {
      throw new RefusedError('INVALID_INPUT', `${blob.digest} is given with two sizes`)
    }
    byDigest.set(blob.digest, { ...blob, isWanted: blob.isWanted || known?.isWanted === true })
  }
  return [...byDigest.values()]
}

function pullRecord(
  caller: NodeCaller,
  { registry, repository }: PullQuestion,
  made: { spki: Buffer; nowMs: number; credential: VerifiedCredential; granted: readonly WantedBlob[] },
): PullRecord {
  const { cluster } = caller.cluster
  return {
    pull: randomBytes(16).toString('hex'),
    cluster,
    node: caller.node,
    registry,
    repository,
    subject: made.credential.subject,
    tokenHash: made.credential.tokenHash ?? null,
    spki: made.spki,
    grantedAtMs: made.nowMs,
    expiresAtMs: made.nowMs,
    blobs: made.granted.map(({ digest, bytes }) => ({
      swarm: swarmIdOf({ cluster, registry, digest, bytes }),
      digest,
      isComplete: false,
    })),
  }
}

interface GrantedPull {
  question: PullQuestion
  pull: PullRecord
  granted: readonly WantedBlob[]
}

/** Wanted blobs come first for their hashes: the answer's budget of them is shared. */
async function joinSwarms(
  parts: TrackerParts,
  caller: NodeCaller,
  { question, pull, granted }: GrantedPull,
): Promise<SwarmAnswer[]> {
  const budget = { pieces: ANSWER_PIECES_MAX }
  const answers = new Map<Digest, SwarmAnswer>()
  const wantedFirst = [...granted].sort((one, other) => Number(other.isWanted) - Number(one.isWanted))
  for (const blob of wantedFirst) {
    answers.set(blob.digest, await joinSwarm(parts, caller, { question, pull, blob, budget }))
  }
  return granted.map(({ digest }) => answers.get(digest)!)
}

async function joinSwarm(
  parts: TrackerParts,
  caller: NodeCaller,
  join: { question: PullQuestion; pull: PullRecord; blob: WantedBlob; budget: { pieces: number } },
): Promise<SwarmAnswer> {
  const { question, pull, blob, budget } = join
  const { cluster } = caller.cluster
  const { digest, bytes } = blob
  const identity: SwarmIdentity = {
    cluster,
    registry: question.registry,
    digest,
    bytes,
    swarm: swarmIdOf({ cluster, registry: question.registry, digest, bytes }),
  }
  const nowMs = parts.nowMs()
  const table = parts.peers.of(cluster)
  const peers = table.choose(identity.swarm, {
    asker: caller.node,
    peersMax: PEERS_HANDED_OUT_MAX,
    random: parts.random,
    nowMs,
  })
  table.join({ node: caller.node, address: caller.address, port: question.listenPort }, identity.swarm, nowMs)
  return parts.swarms.open(identity, (state) => {
    const batches =
      budget.pieces >= state.publishedCount ? batchesFrom(state, caller.cluster.batchKeys[0]!, 0) : []
    if (batches.length > 0) budget.pieces -= state.publishedCount
    const lease = blob.isWanted
      ? state.lease({
          lease: randomBytes(16).toString('hex'),
          node: caller.node,
          pull: pull.pull,
          position: 0,
          nowMs,
          leaseMs: parts.times.leaseSeconds * 1000,
          policy: parts.leasePolicy,
        })
      : undefined
    if (lease !== undefined) parts.metrics.leases.inc()
    return {
      digest,
      bytes,
      swarm: identity.swarm,
      epoch: state.epoch,
      status: state.status,
      batches,
      peers,
      lease: lease === undefined ? null : leaseMessage(identity.swarm, lease, nowMs),
    }
  })
}

/** A lease as it travels: its end is relative, as clocks differ. */
export function leaseMessage(
  swarm: SwarmIdentity['swarm'],
  lease: { lease: string; firstPiece: number; pieces: number; expiresAtMs: number },
  nowMs: number,
) {
  const { lease: id, firstPiece, pieces, expiresAtMs } = lease
  return { lease: id, swarm, firstPiece, pieces, expiresInMs: Math.max(0, expiresAtMs - nowMs) }
}
