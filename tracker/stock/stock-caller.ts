import type { TLSSocket } from 'node:tls'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import { grantsPull, parseRegistryToken } from '../../core/registry-token.ts'
import { isRepository, type Repository } from '../../core/repository.ts'
import { pullCallerOn } from '../api/caller.ts'
import type { Cluster } from '../authority/cluster.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import { verifyKnownBearer } from '../pull/credential.ts'
import { livePull } from '../pull/live-pull.ts'
import type { SwarmIdentity } from '../store/store.ts'

/** Repositories of one token that are looked at. */
const REPOSITORIES_MAX = 8

/** Someone who may know a swarm's torrent: who holds a live pull certificate that names the blob, or a token for it. */
export interface StockCaller {
  cluster: Cluster
  identity: SwarmIdentity
  /** Of the pull certificate, which is what peers see; who shows a token only cannot be a peer. */
  peer: { node: NodeId; address: string } | undefined
}

/**
 * A registry token counts before a certificate: who sends one means it.
 * @throws RefusedError, RegistryTokenError
 */
export function stockCallerOf(
  parts: TrackerParts,
  request: { socket: TLSSocket; authorization: string | undefined },
  swarm: SwarmId,
): Promise<StockCaller> {
  const jwt = /^Bearer +(\S+)$/i.exec(request.authorization ?? '')?.[1]
  return jwt === undefined ? byCertificate(parts, request.socket, swarm) : byToken(parts, jwt, swarm)
}

async function byCertificate(parts: TrackerParts, socket: TLSSocket, swarm: SwarmId): Promise<StockCaller> {
  const caller = pullCallerOn(parts, socket)
  const pull = await livePull(parts, caller, caller.pull)
  if (!pull.blobs.some((blob) => blob.swarm === swarm)) {
    throw new RefusedError('SWARM_NOT_GRANTED', 'the certificate does not name this blob')
  }
  const { cluster, node, address } = caller
  return { cluster, identity: await identityOf(parts, cluster, swarm), peer: { node, address } }
}

async function byToken(parts: TrackerParts, jwt: string, swarm: SwarmId): Promise<StockCaller> {
  const cluster = await clusterOf(parts, swarm)
  const identity = await identityOf(parts, cluster, swarm)
  await checkToken(parts, cluster, identity, jwt)
  return { cluster, identity, peer: undefined }
}

/** A swarm's id is of one cluster only. @throws RefusedError SWARM_UNKNOWN */
async function clusterOf(parts: TrackerParts, swarm: SwarmId): Promise<Cluster> {
  for (const cluster of parts.clusters.list()) {
    if ((await parts.store.swarmVersion(cluster.cluster, swarm)) !== undefined) return cluster
  }
  throw new RefusedError('SWARM_UNKNOWN', `there is no swarm ${swarm}`)
}

function identityOf(parts: TrackerParts, { cluster }: Cluster, swarm: SwarmId): Promise<SwarmIdentity> {
  return parts.swarms.step(cluster, swarm, (state) => state.identity)
}

/** The token must grant pull on a repository that holds the blob. */
async function checkToken(
  parts: TrackerParts,
  { cluster }: Cluster,
  { registry: host, digest, bytes }: SwarmIdentity,
  jwt: string,
): Promise<void> {
  const registry = parts.registries.get(host)
  if (registry === undefined) throw new RefusedError('REGISTRY_UNKNOWN', `${host} is not configured`)
  const nowMs = parts.nowMs()
  let refusal = new RefusedError('TOKEN_SCOPE', 'the token grants no pull on a repository with this blob')
  for (const repository of repositoriesOf(jwt)) {
    const { authorization, subject } = verifyKnownBearer(parts.tokenKeys, {
      registry,
      repository,
      jwt,
      nowMs,
    })
    if (parts.revocations.isSubjectBarred(cluster, host, subject)) {
      throw new RefusedError('SUBJECT_REVOKED', "the token's subject is barred from pulling")
    }
    try {
      await parts.memberships.check({ registry, repository, digest, bytes, authorization, nowMs })
      return
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      if (error.code !== 'BLOB_NOT_IN_REPOSITORY') refusal = error
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
