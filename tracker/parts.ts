import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import type { CredentialsSeen } from '../core/credentials-seen.ts'
import type { Defects } from '../core/defects.ts'
import { peerTokenJwk, peerTokenTrust } from '../core/peer-token.ts'
import type { RegistryClients } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import { TOKEN_KEYS_MAX } from '../core/token-keys.ts'
import type { ClusterTrust } from '../core/tracker-api.ts'
import type { AdminTokens } from './authority/admin-tokens.ts'
import type { Cluster } from './authority/cluster.ts'
import type { Clusters } from './authority/clusters.ts'
import type { JoinTokens } from './authority/join-tokens.ts'
import type { NodeMarks } from './authority/node-marks.ts'
import type { Pauses } from './authority/pauses.ts'
import type { Restored } from './authority/restored.ts'
import type { RevocationCopies } from './authority/revocation-copies.ts'
import type { Revocations } from './authority/revocations.ts'
import type { Sealer } from './authority/sealer.ts'
import type { LeasePolicy } from './handout/leases.ts'
import type { JoinLimits } from './join-limits.ts'
import type { TrackerMetrics } from './metrics.ts'
import type { Acceptances } from './pull/acceptances.ts'
import type { FailedGrants } from './pull/failed-grants.ts'
import type { KindsFound } from './pull/kinds-found.ts'
import type { Memberships } from './pull/membership.ts'
import type { StoredAnswers } from './pull/stored-answers.ts'
import type { TrustedKeys } from './pull/trusted-keys.ts'
import type { RequestLimits } from './request-limits.ts'
import type { Store } from './store/store.ts'
import type { DialBacks } from './swarm/dial-back.ts'
import type { EpochNews } from './swarm/epoch-news.ts'
import type { GoneHolders } from './swarm/gone-holders.ts'
import type { OtherTrackers } from './swarm/other-trackers.ts'
import type { PeerTables } from './swarm/peer-tables.ts'
import type { PortTrials } from './swarm/port-trials.ts'
import type { PullAccesses } from './swarm/pull-accesses.ts'
import type { RegistryLimits } from './swarm/registry-limits.ts'
import type { Sha1Claims } from './swarm/sha1-claims.ts'
import type { SharedEndpoints } from './swarm/shared-endpoints.ts'
import type { SwarmCache } from './swarm/swarm-cache.ts'

/** The parts of the tracker. main.ts makes them once and hands them to the APIs. */
export interface TrackerParts {
  store: Store
  sealer: Sealer
  clusters: Clusters
  joinTokens: JoinTokens
  adminTokens: AdminTokens
  revocations: Revocations
  revocationCopies: RevocationCopies
  restored: Restored
  pauses: Pauses
  nodeMarks: NodeMarks
  swarms: SwarmCache
  epochs: EpochNews
  peers: PeerTables
  /** Other trackers of the same store. */
  others: OtherTrackers
  portTrials: PortTrials
  /** What keeps nodes from sharing, as far as the tracker sees it. */
  conditions: Conditions
  sharedEndpoints: SharedEndpoints
  dialBacks: DialBacks
  goneHolders: GoneHolders
  registryLimits: RegistryLimits
  sha1Claims: Sha1Claims
  registries: RegistryClients
  tokenKeys: TrustedKeys
  acceptances: Acceptances
  credentialsSeen: CredentialsSeen
  strangers: Strangers
  kindsFound: KindsFound
  memberships: Memberships
  storedAnswers: StoredAnswers
  accesses: PullAccesses
  /** Limits granted pulls and renewals, by cluster and node. */
  pullLimits: RequestLimits
  renewLimits: RequestLimits
  /** Limits a node's certificates other than its pulls', by cluster and node. */
  certificateLimits: RequestLimits
  joinLimits: JoinLimits
  failedGrants: FailedGrants
  leasePolicy: LeasePolicy
  times: TrackerTimes
  metrics: TrackerMetrics
  log: Logger
  defects: Defects
  /** Milliseconds since 1970. */
  nowMs(): number
  /** In [0, 1); for choices that may be predictable. */
  random(): number
}

export interface TrackerTimes {
  pullCertificateSeconds: number
  leaseSeconds: number
  heartbeatSeconds: number
}

/** Everything that members of the cluster must trust now. */
export function trustOf(
  { registries, tokenKeys }: Pick<TrackerParts, 'registries' | 'tokenKeys'>,
  cluster: Cluster,
): ClusterTrust {
  // Nodes of version 0.2 know `peerTokenKeys` only as entries for the registries that are configured so.
  const minting = [...registries.values()].filter(({ kind }) => kind === 'introspect')
  // Keys derived from the current signing key come first, for every registry, so that the bound cuts off previous keys.
  const ownKeys = cluster.signingKeys.flatMap(({ peerTokenKey }) =>
    minting.map(({ host }) => peerTokenTrust(cluster.cluster, host, peerTokenKey)),
  )
  return {
    ...cluster.trust,
    tokenKeys: [...ownKeys, ...tokenKeys.all()].slice(0, TOKEN_KEYS_MAX),
    peerTokenKeys: cluster.signingKeys.map(({ peerTokenKey }) => peerTokenJwk(peerTokenKey)),
  }
}
