import { BoundedMap } from '../../core/bounded-map.ts'
import type { Digest } from '../../core/digest.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import { RefusedError } from '../errors.ts'
import { headOf } from './registry-head.ts'

/** How long "this blob is in this repository" is remembered. It never says who may read it. */
export const MEMBERSHIP_MS = 3600 * 1000
/**
 * The longest blob that is believed on the caller's word, where the registry answers HEAD by a redirect and tells no
 * length: 16,384 pieces. Layers above it are rare, and come from the registry.
 */
export const UNVERIFIED_BYTES_MAX = 64 * 1024 ** 3
/** Bound of remembered memberships: about 300 bytes each. */
export const MEMBERSHIPS_MAX = 100_000

export interface MembershipQuestion {
  registry: RegistryClient
  repository: Repository
  digest: Digest
  bytes: number
  /** The caller's, already verified where the registry knows tokens. */
  authorization: string | undefined
  nowMs: number
}

interface Membership {
  /** Undefined when the registry redirected and told no length. */
  bytes: number | undefined
  untilMs: number
}

/** Which blobs are in which repositories, as the registry says. */
export class Memberships {
  readonly #known = new BoundedMap<string, Membership>(MEMBERSHIPS_MAX)
  readonly #asking = new Map<string, Promise<Membership>>()

  /**
   * Makes sure that the blob is in the repository and as long as the caller says.
   * @throws RefusedError BLOB_NOT_IN_REPOSITORY, BLOB_SIZE_MISMATCH, BLOB_SIZE_UNPROVEN, REGISTRY_REFUSED,
   *   REGISTRY_UNREACHABLE
   */
  async check(question: MembershipQuestion): Promise<void> {
    const id = [question.registry.host, question.repository, question.digest].join(' ')
    const membership = await this.#find(id, question)
    if (membership.bytes !== undefined && membership.bytes !== question.bytes) {
      throw new RefusedError('BLOB_SIZE_MISMATCH', `${question.digest} is ${membership.bytes} bytes long`)
    }
    if (membership.bytes === undefined && question.bytes > UNVERIFIED_BYTES_MAX) {
      throw new RefusedError(
        'BLOB_SIZE_UNPROVEN',
        'the registry tells no length, and this one is not believed',
      )
    }
  }

  /** The registry has just said so, to whoever asked. @param bytes undefined when it told no length */
  note(
    { registry, repository, digest, nowMs }: Omit<MembershipQuestion, 'bytes' | 'authorization'>,
    bytes: number | undefined,
  ): void {
    this.#known.set([registry.host, repository, digest].join(' '), { bytes, untilMs: nowMs + MEMBERSHIP_MS })
  }

  async #find(id: string, question: MembershipQuestion): Promise<Membership> {
    const known = this.#known.get(id)
    if (known !== undefined && known.untilMs > question.nowMs) return known
    const asking = this.#asking.get(id)
    // Someone else's success is a fact about the blob; someone else's failure says nothing about this caller.
    const theirs = await asking?.catch(() => undefined)
    return theirs ?? this.#ask(id, question)
  }

  async #ask(id: string, question: MembershipQuestion): Promise<Membership> {
    const asking = headBlob(question)
    this.#asking.set(id, asking)
    try {
      const membership = await asking
      this.#known.set(id, membership)
      return membership
    } finally {
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
    }
  }
}

async function headBlob(question: MembershipQuestion): Promise<Membership> {
  const { registry, repository, digest, authorization, nowMs } = question
  const head = await headOf(registry, { repository, digest, authorization })
  if (head.isPresent) return { bytes: head.bytes, untilMs: nowMs + MEMBERSHIP_MS }
  if (head.status === 404)
    throw new RefusedError('BLOB_NOT_IN_REPOSITORY', `${digest} is not in ${repository}`)
  throw new RefusedError('REGISTRY_REFUSED', `the registry answered ${head.status}`)
}
