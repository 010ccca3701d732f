import type { Digest } from '../../core/digest.ts'
import type { Credential, GrantedSwarm } from '../../core/tracker-api.ts'
import { TrackerRefusedError } from '../errors.ts'

/** What a request for a grant names. `isWanted`: it may take a lease. */
export interface AskedBlob {
  digest: Digest
  bytes: number
  isWanted: boolean
}

export function unwanted({ digest, bytes }: { digest: Digest; bytes: number }): AskedBlob {
  return { digest, bytes, isWanted: false }
}

export function isSameCredential(one: Credential, other: Credential): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** @throws TrackerRefusedError if the grant does not cover the blob */
export function covering<Grant extends { swarms: ReadonlyMap<Digest, GrantedSwarm> }>(
  grant: Grant,
  digest: Digest,
): { grant: Grant; swarm: GrantedSwarm } {
  const swarm = grant.swarms.get(digest)
  if (!swarm) {
    throw new TrackerRefusedError('the tracker did not grant the blob', {
      trackerCode: 'BLOB_REFUSED',
      status: 403,
    })
  }
  return { grant, swarm }
}
