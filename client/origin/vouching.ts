import { BoundedMap } from '../../core/bounded-map.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { BlobRequest } from '../client.ts'
import type { MemoryRecord } from '../membership/node-memory.ts'
import { AcceptedCredentials } from './accepted-credentials.ts'

/** How long a blob's repository is remembered; the tracker uses the same time. */
const MEMBERSHIP_MS = 3600 * 1000
/** Blobs whose repository is remembered: about 30 images of full height. */
const MEMBERSHIPS_MAX = 4096

type BlobOfCaller = Omit<BlobRequest, 'bytes'>
type VouchingRecord = Pick<MemoryRecord, 'accepted' | 'memberships'>

/**
 * Whom this node answers for while a registry is away: those whose credential it saw the registry accept for a repository,
 * and for blobs that were in that repository lately.
 */
export class Vouching {
  readonly #credentials = new AcceptedCredentials()
  readonly #memberUntilMs = new BoundedMap<string, number>(MEMBERSHIPS_MAX)
  readonly #scopeOf: (host: RegistryHost) => string

  /** @param scope of what a registry says: a memory of before a restart may be of another path of its host */
  constructor(scope: (host: RegistryHost) => string) {
    this.#scopeOf = scope
  }

  vouchesFor(caller: BlobOfCaller, nowMs: number): boolean {
    return this.isMember(caller, nowMs) && this.#credentials.has(this.#scoped(caller), nowMs)
  }

  /** The registry said within the hour, to this node or to the tracker, that the blob is in the repository. */
  isMember(blob: BlobOfCaller, nowMs: number): boolean {
    return (this.#memberUntilMs.get(blobOfRepository(this.#scoped(blob))) ?? 0) > nowMs
  }

  /** The registry accepted the credential for the blob. @param isOpen it is configured to need none */
  sawAccepted(caller: BlobOfCaller, { isOpen, nowMs }: { isOpen: boolean; nowMs: number }): void {
    this.#credentials.note(this.#scoped(caller), { isOpen, nowMs })
    this.sawMember(caller, nowMs)
  }

  /** The registry said then that the blob is in the repository. */
  sawMember(blob: BlobOfCaller, atMs: number): void {
    const id = blobOfRepository(this.#scoped(blob))
    this.#memberUntilMs.set(id, Math.max(this.#memberUntilMs.get(id) ?? 0, atMs + MEMBERSHIP_MS))
  }

  record(nowMs: number): VouchingRecord {
    return {
      accepted: this.#credentials.record(nowMs),
      memberships: [...this.#memberUntilMs.entries()],
    }
  }

  restore({ accepted, memberships }: VouchingRecord, nowMs: number): void {
    this.#credentials.restore(accepted, nowMs)
    for (const [blob, untilMs] of memberships) {
      this.#memberUntilMs.set(blob, Math.min(untilMs, nowMs + MEMBERSHIP_MS))
    }
  }

  #scoped<Blob extends BlobOfCaller>(blob: Blob): Omit<Blob, 'registry'> & { registry: string } {
    return { ...blob, registry: this.#scopeOf(blob.registry) }
  }
}

export function blobOfRepository(blob: { registry: string; repository: string; digest: string }): string {
  return `${blob.registry} ${blob.repository} ${blob.digest}`
}
