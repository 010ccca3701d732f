import type { Digest } from '../../core/digest.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { TokenProver } from '../../core/token-proof/index.ts'
import type { Credential, GrantedSwarm } from '../../core/tracker-api.ts'
import { TrackerRefusedError } from '../errors.ts'
import type { PeerCredential } from './cluster-trust.ts'

/** The tracker's permission to pull the blobs of one image, with its proof towards peers. */
export interface Grant {
  readonly pull: string
  readonly registry: RegistryHost
  readonly repository: Repository
  readonly swarms: ReadonlyMap<Digest, GrantedSwarm>
  /** When the tracker gave it. A renewal says nothing new about the registry. */
  readonly grantedAtMs: number
  /** Replaced with a certificate that is bound to another token. */
  prover: TokenProver | undefined
  /** Replaced by every renewal. */
  credential: PeerCredential
}

export type AskedBlob = { digest: Digest; bytes: number; isWanted: boolean }

/** Asked for ahead of need. */
export function unwanted({ digest, bytes }: { digest: Digest; bytes: number }): AskedBlob {
  return { digest, bytes, isWanted: false }
}

export function isSameCredential(one: Credential, other: Credential): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** @throws TrackerRefusedError unless the grant covers the blob */
export function covering(grant: Grant, digest: Digest): { grant: Grant; swarm: GrantedSwarm } {
  const swarm = grant.swarms.get(digest)
  if (!swarm) {
    throw new TrackerRefusedError('the tracker did not grant the blob', {
      trackerCode: 'BLOB_REFUSED',
      status: 403,
    })
  }
  return { grant, swarm }
}
