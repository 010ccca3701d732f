import type { Client, ClientOptions } from './client.ts'
import { NodeClient } from './node-client.ts'

export type { LinkTrial, Reach } from '../core/reach-api.ts'
/**
 * The transfer engine's public surface: `shoal node` starts one client and the proxy pulls blobs through it.
 * Nothing outside this folder imports any other file of it.
 */
export type {
  BlobCache,
  BlobKey,
  BlobProgress,
  BlobRequest,
  BytesBySource,
  CachedBlob,
  CacheLimits,
  CheckedBlob,
  Client,
  ClientLimits,
  ClientOptions,
  ClientStatus,
  ImagePlan,
  OpenBlob,
  PinnedImage,
  PruneRequest,
  PushCopy,
  PushedBlobs,
  RegistryBlob,
  RegistryFound,
} from './client.ts'
export { CALL_OUTCOMES } from './client.ts'
export { CachePinsError, CacheUnknownError, JoinFailedError } from './errors.ts'
export { type JoinOutcome, joinCluster } from './membership/join-cluster.ts'
export { type KnownTracker, trackerOf } from './membership/joined-cluster.ts'
export { type KeptIdentity, keptIdentity } from './membership/kept-identity.ts'
export { type LeaveOutcome, leaveCluster } from './membership/leave-cluster.ts'
export { hasJoined } from './membership/node-identity.ts'
export { durationText } from './membership/pinned-authority.ts'

/**
 * Starts the engine: joins the cluster, listens for peers, and serves the stored blobs. It also starts when the
 * tracker is down: stored blobs are read from the store, all others from the registry.
 * @throws JoinError when the tracker refuses the node; ConfigError
 */
export async function startClient(options: ClientOptions): Promise<Client> {
  const client = new NodeClient(options)
  await client.start()
  return client
}
