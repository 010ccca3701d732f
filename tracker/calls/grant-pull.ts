import { randomBytes } from 'node:crypto'
import type { z } from 'zod'
import type { Digest } from '../../core/digest.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import { mintPeerToken } from '../../core/peer-token.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { Repository } from '../../core/repository.ts'
import type { pullRequest, pullResponse } from '../../core/tracker-api.ts'
import { checkedP256Spki } from '../authority/leaf-certificate.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { RefusedError } from '../errors.ts'
import { type TrackerParts, trustOf } from '../parts.ts'
import type { VerifiedCredential } from '../pull/credential.ts'
import { isGuess, judgeCredential } from '../pull/judge-credential.ts'
import { issuePullCertificate } from '../pull/pull-certificate.ts'
import { expectUnlimited } from '../pull/registry-head.ts'
import type { PullRecord } from '../store/store.ts'
import { inTurns } from './in-turns.ts'
import { joinSwarms, leaveSwarms, type WantedBlob } from './join-swarms.ts'

export type PullQuestion = z.output<typeof pullRequest>
export type PullAnswer = z.output<typeof pullResponse>

/** Enough for the milliseconds since 1970 until the year 10889. */
const TIME_HEX_DIGITS = 12
/** HEAD requests in flight for one pull: a caller with 128 blobs must not occupy the registry's whole pool. */
const HEADS_PER_PULL_MAX = 8

/**
 * Like `grant`, and counts refusals.
 * @param hasLeft the caller's connection has closed: nobody gets the answer
 * @throws RefusedError BLOCKED; TooManyRequestsError when too many of the caller's pulls were refused lately; as `grant`
 */
export async function grantPull(
  parts: TrackerParts,
  caller: NodeCaller,
  question: PullQuestion,
  hasLeft: () => boolean = () => false,
): Promise<PullAnswer> {
  const registry = parts.registries.get(question.registry)
  if (registry === undefined) {
    throw new RefusedError('REGISTRY_UNKNOWN', `${question.registry} is not configured`)
  }
  parts.blocks.checkRepository(caller.cluster.cluster, question)
  const key = `${caller.cluster.cluster} ${caller.node} ${registry.host}`
  const network = `${networkOf(caller.address)} ${registry.host}`
  const limits = { key, network, isGuess: isGuess(question.credential), nowMs: parts.nowMs() }
  return parts.failedGrants.run(limits, () => grant(parts, caller, registry, question, hasLeft))
}

/**
 * Grants a pull (docs/a-pull.md, "The grant"). Checks the caller, its credential, and that the blobs are in the repository;
 * then issues the certificate and joins the swarm of every blob.
 * @throws RefusedError, RegistryTokenError, InvalidInputError
 */
async function grant(
  parts: TrackerParts,
  caller: NodeCaller,
  registry: RegistryClient,
  question: PullQuestion,
  hasLeft: () => boolean,
): Promise<PullAnswer> {
  const spki = checkedP256Spki(Buffer.from(question.publicKey, 'base64url'))
  const blobs = distinctBlobs(question.blobs)
  const nowMs = parts.nowMs()
  const credential = await judgeCredential(parts, {
    registry,
    repository: question.repository,
    credential: question.credential,
    digests: blobs.map(({ digest }) => digest),
    caller,
    nowMs,
  })
  parts.revocations.checkBearer(caller.cluster.cluster, registry.host, credential)
  const { granted, refused } = await checkBlobs(parts, caller, { registry, question, blobs, credential })
  // It may have been blocked meanwhile.
  parts.blocks.checkRepository(caller.cluster.cluster, question)
  if (hasLeft()) throw new RefusedError('CALLER_GONE', 'nobody waits for the grant any more')
  parts.pullLimits.enter(`${caller.cluster.cluster} ${caller.node}`, nowMs)()
  const peerToken = credential.standing === 'signed' ? null : peerTokenFor(caller, question, { spki, nowMs })
  parts.kindsFound.note(registry.host, credential.standing)
  const tokenHash = peerToken === null ? credential.tokenHash : parseRegistryToken(peerToken).hash
  const pull = pullRecord(caller, question, {
    spki,
    nowMs,
    credential: { ...credential, tokenHash },
    granted,
    apiPath: registry.apiPath,
  })
  const issued = await certifyPull(parts, caller, pull)
  const { authorization, endsAtMs } = credential
  const access = { node: caller.node, repository: question.repository, authorization }
  for (const { swarm } of pull.blobs) parts.accesses.note(swarm, access, endsAtMs, nowMs)
  const table = parts.peers.of(caller.cluster.cluster)
  const isNew = new Set(pull.blobs.map(({ swarm }) => swarm).filter((it) => !table.holds(caller.node, it)))
  const swarms = await joinSwarms(parts, caller, { ...question, pull: pull.pull, blobs: granted })
  if (hasLeft()) await leaveSwarms(parts, caller, swarms, isNew)
  return {
    pull: pull.pull,
    ...issued,
    trust: trustOf(parts, caller.cluster),
    swarms,
    refused: refused.map(({ digest, reason }) => ({ digest, code: reason.code })),
    peerToken,
  }
}

/** The token that the caller proves to its peers where the registry's own credential cannot be proven. */
function peerTokenFor(
  { cluster }: NodeCaller,
  { registry, repository }: PullQuestion,
  made: { spki: Buffer; nowMs: number },
): string {
  const claims = { cluster: cluster.cluster, registry, repository, ...made }
  return mintPeerToken(cluster.signingKey.peerTokenKey, claims)
}

/** Stores the pull before its certificate leaves. */
async function certifyPull(parts: TrackerParts, caller: NodeCaller, pull: PullRecord) {
  const { grantedAtMs: nowMs, cluster } = pull
  const validForSeconds = parts.times.pullCertificateSeconds
  const issued = issuePullCertificate(caller.cluster, pull, { nowMs, validForSeconds })
  await parts.store.putPull(
    { ...pull, expiresAtMs: nowMs + issued.validForSeconds * 1000 },
    { atMs: nowMs, actor: `node ${caller.node}`, action: 'pull granted', cluster, target: pull.pull },
  )
  parts.metrics.grants.inc()
  return issued
}

interface Refused {
  digest: Digest
  reason: RefusedError
}

interface AskedBlobs {
  registry: RegistryClient
  question: PullQuestion
  blobs: readonly WantedBlob[]
  credential: VerifiedCredential
}

async function checkBlobs(
  parts: TrackerParts,
  { cluster: { cluster } }: NodeCaller,
  { registry, question: { repository }, blobs, credential: { authorization, standing } }: AskedBlobs,
): Promise<{ granted: WantedBlob[]; refused: Refused[] }> {
  const granted: WantedBlob[] = []
  const refused: Refused[] = []
  const check = async (blob: WantedBlob) => {
    try {
      const { digest, bytes } = blob
      parts.blocks.checkDigest(cluster, digest)
      const nowMs = parts.nowMs()
      const isOpen = standing === 'stranger'
      if (isOpen) await expectOpen(parts, registry, { repository, digest })
      await parts.memberships.check({ registry, repository, digest, bytes, authorization, isOpen, nowMs })
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

/**
 * What strangers are given blob by blob they get blob by blob: a repository may be open in part.
 * @throws RefusedError CREDENTIAL_REQUIRED, REGISTRY_LIMITED
 */
async function expectOpen(
  { strangers, credentialsSeen }: TrackerParts,
  registry: RegistryClient,
  blob: { repository: Repository; digest: Digest },
): Promise<void> {
  if (registry.kind === 'none' && credentialsSeen.isOpen(registry.host)) return
  if ((await strangers.standing(registry, blob)) === 'served') return
  expectUnlimited(registry, undefined)
  throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a credential for ${blob.digest}`)
}

/** Drops repetitions. @throws RefusedError INVALID_INPUT when one digest comes with two sizes */
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

/**
 * Unique, and in the order of grants like UUIDs of version 7 (RFC 9562 §5.7): rows that are written together then share
 * pages of the store.
 */
function pullIdAt(nowMs: number): string {
  return nowMs.toString(16).padStart(TIME_HEX_DIGITS, '0') + randomBytes(10).toString('hex')
}

function pullRecord(
  caller: NodeCaller,
  { registry, repository }: PullQuestion,
  made: {
    spki: Buffer
    nowMs: number
    credential: VerifiedCredential
    granted: readonly WantedBlob[]
    apiPath: string | undefined
  },
): PullRecord {
  const { cluster } = caller.cluster
  return {
    pull: pullIdAt(made.nowMs),
    cluster,
    node: caller.node,
    registry,
    repository,
    subject: made.credential.subject,
    tokenHash: made.credential.tokenHash ?? null,
    tokenKey: made.credential.tokenKey,
    spki: made.spki,
    grantedAtMs: made.nowMs,
    expiresAtMs: made.nowMs,
    blobs: made.granted.map(({ digest, bytes }) => ({
      swarm: swarmIdOf({ cluster, registry, apiPath: made.apiPath, digest, bytes }),
      digest,
      isComplete: false,
    })),
  }
}
