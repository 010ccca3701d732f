import type { TLSSocket } from 'node:tls'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import { grantsPull, isSignedBy, parseRegistryToken } from '../../core/registry-token.ts'
import { isRepository, type RegistryHost, type Repository } from '../../core/repository.ts'
import { thumbprintOf } from '../../core/token-algorithms.ts'
import { callerOf, pullCallerOn } from '../api/caller.ts'
import type { Cluster } from '../authority/cluster.ts'
import { checkNames, livePull } from '../calls/live-pull.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { type VerifiedBearer, verifyKnownBearer } from '../pull/credential.ts'
import type { SwarmIdentity } from '../store/store.ts'

/** Bound of repositories checked per token. */
const REPOSITORIES_MAX = 8

/** A caller who may get a swarm's torrent: it has a live pull certificate that names the blob, or a token for it. */
export interface StockCaller {
  cluster: Cluster
  identity: SwarmIdentity
  /** Taken from the pull certificate, which peers see; a caller with only a token cannot be a peer. */
  peer: { node: NodeId; address: string } | undefined
}

/**
 * A registry token takes precedence over a certificate, because a caller sends one on purpose.
 * @throws RefusedError, RegistryTokenError
 */
export async function stockCallerOf(
  parts: TrackerParts,
  request: { socket: TLSSocket; authorization: string | undefined },
  swarm: SwarmId,
): Promise<StockCaller> {
  const jwt = /^Bearer +(\S+)$/i.exec(request.authorization ?? '')?.[1]
  if (jwt === undefined) return byCertificate(parts, request.socket, swarm)
  const { key } = await callerOf(parts, request.socket)
  const limits = { key, network: key, isGuess: false, nowMs: parts.nowMs() }
  return parts.failedGrants.run(limits, () => byToken(parts, jwt, swarm))
}

async function byCertificate(parts: TrackerParts, socket: TLSSocket, swarm: SwarmId): Promise<StockCaller> {
  const caller = pullCallerOn(parts, socket)
  const pull = await livePull(parts, caller, caller.pull)
  checkNames(parts, pull, swarm)
  const { cluster, node, address } = caller
  return { cluster, identity: await identityOf(parts, cluster, swarm), peer: { node, address } }
}

/**
 * Errors of the token itself are answered before any swarm is looked up. After that an unknown swarm and a swarm that the
 * token does not open get the same answer, so that strangers learn nothing about the blobs of clusters.
 */
async function byToken(parts: TrackerParts, jwt: string, swarm: SwarmId): Promise<StockCaller> {
  const repositories = repositoriesOf(jwt)
  const verified = verifiedAt(parts, jwt, repositories)
  const cluster = await clusterOf(parts, swarm)
  if (cluster === undefined) throw notGranted()
  const identity = await identityOf(parts, cluster, swarm)
  const credential = verified.get(identity.registry)
  if (credential === undefined) throw notGranted()
  const isShared = (repository: Repository) =>
    !parts.blocks.isRepositoryBlocked(cluster.cluster, { registry: identity.registry, repository })
  await checkBlob(parts, identity, repositories.filter(isShared), credential)
  parts.blocks.checkDigest(cluster.cluster, identity.digest)
  parts.revocations.checkBearer(cluster.cluster, identity.registry, credential)
  return { cluster, identity, peer: undefined }
}

function notGranted(): RefusedError {
  return new RefusedError('TOKEN_SCOPE', 'the token grants no pull on a repository with this blob')
}

/** The registries that the token belongs to. @throws RefusedError if there is none */
function verifiedAt(
  { registries, tokenKeys, nowMs }: TrackerParts,
  jwt: string,
  [repository]: readonly Repository[],
): Map<RegistryHost, VerifiedBearer> {
  if (repository === undefined) throw notGranted()
  const verified = new Map<RegistryHost, VerifiedBearer>()
  const isSigned = oncePerKey()
  let refusal = new RefusedError('CREDENTIAL_UNEXPECTED', 'no registry takes signed tokens')
  for (const registry of registries.values()) {
    if (registry.kind === 'none') continue
    const question = { registry, repository, jwt, nowMs: nowMs() }
    try {
      verified.set(registry.host, verifyKnownBearer(tokenKeys, question, isSigned))
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      refusal = error
    }
  }
  if (verified.size === 0) throw refusal
  return verified
}

/** Registries with the same token server share its key, so a token is verified only once with each key. */
function oncePerKey(): typeof isSignedBy {
  const verdicts = new Map<string, boolean>()
  return (token, jwk) => {
    const key = thumbprintOf(jwk).toString('hex')
    const verdict = verdicts.get(key) ?? isSignedBy(token, jwk)
    verdicts.set(key, verdict)
    return verdict
  }
}

/** A swarm's id belongs to one cluster only. */
async function clusterOf(parts: TrackerParts, swarm: SwarmId): Promise<Cluster | undefined> {
  for (const cluster of parts.clusters.list()) {
    if ((await parts.store.swarmVersion(cluster.cluster, swarm)) !== undefined) return cluster
  }
  return undefined
}

function identityOf(parts: TrackerParts, { cluster }: Cluster, swarm: SwarmId): Promise<SwarmIdentity> {
  return parts.swarms.step(cluster, swarm, (state) => state.identity)
}

/**
 * One of the token's repositories must contain the blob. A probed key's signature is not enough: the registry must also
 * have accepted the token for that repository.
 * @throws RefusedError TOKEN_SCOPE; REGISTRY_UNREACHABLE and REGISTRY_LIMITED, which only the registry's own users can see
 */
async function checkBlob(
  parts: TrackerParts,
  { registry: host, digest, bytes }: SwarmIdentity,
  repositories: readonly Repository[],
  { authorization, endsAtMs, tokenKey }: VerifiedBearer,
): Promise<void> {
  const registry = parts.registries.get(host)!
  let refusal = notGranted()
  for (const repository of repositories) {
    const nowMs = parts.nowMs()
    const question = { registry, repository, authorization, nowMs }
    try {
      if (tokenKey !== null) await parts.acceptances.check({ ...question, digests: [digest], endsAtMs })
      await parts.memberships.check({ ...question, digest, bytes })
      return
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      if (error.code === 'REGISTRY_UNREACHABLE' || error.code === 'REGISTRY_LIMITED') refusal = error
    }
  }
  throw refusal
}

function repositoriesOf(jwt: string): Repository[] {
  const token = parseRegistryToken(jwt)
  return token.access
    .map(({ name }) => name)
    .filter((name) => isRepository(name) && grantsPull(token, name))
    .slice(0, REPOSITORIES_MAX) as Repository[]
}
