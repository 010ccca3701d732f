import type { BlobHead } from '../../core/blob-question.ts'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { Digest } from '../../core/digest.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { type Repository, scopeOf } from '../../core/repository.ts'
import { Strangers } from '../../core/strangers.ts'
import { RefusedError } from '../errors.ts'
import type { MembershipRecord } from '../store/memory.ts'
import { expectUnlimited, headOf } from './registry-head.ts'
import type { StoredAnswers } from './stored-answers.ts'

/** How long "this blob is in this repository" is remembered. It does not say who may read the blob. */
export const MEMBERSHIP_MS = 3600 * 1000
/**
 * The longest blob whose length is taken from the caller, if the registry answers HEAD with a redirect and no length:
 * 16,384 pieces. Longer layers are rare, and come from the registry.
 */
export const UNVERIFIED_BYTES_MAX = 64 * 1024 ** 3
/** Bound of remembered memberships: about 300 bytes each. */
export const MEMBERSHIPS_MAX = 100_000

export interface MembershipQuestion {
  registry: RegistryClient
  repository: Repository
  digest: Digest
  bytes: number
  /** The caller's header, already verified where the registry uses tokens. */
  authorization: string | undefined
  /** The registry serves the repository to strangers (`Strangers.standing`), so that its redirects lead to blobs. */
  isOpen?: boolean
  nowMs: number
}

interface Membership {
  /** Undefined if the registry redirected and gave no length. */
  bytes: number | undefined
  untilMs: number
}

/** Remembers which blobs are in which repositories, from the registry's answers. */
export class Memberships {
  readonly #known = new BoundedMap<string, Membership>(MEMBERSHIPS_MAX)
  #unsaved = new BoundedMap<string, MembershipRecord>(MEMBERSHIPS_MAX)
  readonly #asking = new Map<string, Promise<Membership>>()
  readonly #strangers: Strangers
  readonly #stored: Pick<StoredAnswers, 'membership'> | undefined

  /** @param stored what other trackers of the store were told */
  constructor(strangers: Strangers = new Strangers(), stored?: Pick<StoredAnswers, 'membership'>) {
    this.#strangers = strangers
    this.#stored = stored
  }

  /**
   * Makes sure that the blob is in the repository and as long as the caller says.
   * @throws RefusedError BLOB_NOT_IN_REPOSITORY, BLOB_SIZE_MISMATCH, BLOB_SIZE_UNPROVEN, CREDENTIAL_UNPROVEN,
   *   REGISTRY_REFUSED, REGISTRY_LIMITED, REGISTRY_UNREACHABLE
   */
  async check(question: MembershipQuestion): Promise<void> {
    const id = [scopeOf(question.registry), question.repository, question.digest].join(' ')
    const membership = await this.#find(id, question)
    if (membership.bytes !== undefined && membership.bytes !== question.bytes) {
      throw new RefusedError('BLOB_SIZE_MISMATCH', `${question.digest} is ${membership.bytes} bytes long`)
    }
    if (membership.bytes === undefined && question.bytes > UNVERIFIED_BYTES_MAX) {
      throw new RefusedError(
        'BLOB_SIZE_UNPROVEN',
        'the registry gives no length, and this one is too large to accept unchecked',
      )
    }
  }

  /** @param records as saved, by this tracker before a restart or by another one */
  restore(records: readonly MembershipRecord[], nowMs: number): void {
    for (const { id, bytes, untilMs } of records) {
      this.#known.set(id, { bytes: bytes ?? undefined, untilMs: Math.min(untilMs, nowMs + MEMBERSHIP_MS) })
    }
  }

  /** Those since the last call. */
  takeUnsaved(): MembershipRecord[] {
    const unsaved = [...this.#unsaved.values()]
    this.#unsaved = new BoundedMap(MEMBERSHIPS_MAX)
    return unsaved
  }

  /** Notes an answer that the registry just gave to any caller. @param bytes undefined if it gave no length */
  note(
    { registry, repository, digest, nowMs }: Omit<MembershipQuestion, 'bytes' | 'authorization'>,
    bytes: number | undefined,
  ): void {
    this.#remember([scopeOf(registry), repository, digest].join(' '), {
      bytes,
      untilMs: nowMs + MEMBERSHIP_MS,
    })
  }

  #remember(id: string, membership: Membership): void {
    this.#known.set(id, membership)
    this.#unsaved.set(id, { id, bytes: membership.bytes ?? null, untilMs: membership.untilMs })
  }

  async #find(id: string, question: MembershipQuestion): Promise<Membership> {
    const known = this.#usable(id, question)
    if (known !== undefined) return known
    const asking = this.#asking.get(id)
    // Another caller's success is a fact about the blob; another caller's failure says nothing about this one.
    const theirs = await asking?.catch(() => undefined)
    return theirs ?? this.#ask(id, question)
  }

  #usable(id: string, { bytes, nowMs }: MembershipQuestion): Membership | undefined {
    const known = this.#known.get(id)
    // Another length than the caller's is asked about again: HEAD may have told a wrong one.
    const isMatching = known?.bytes === undefined || known.bytes === bytes
    return isMatching && known !== undefined && known.untilMs > nowMs ? known : undefined
  }

  async #ask(id: string, question: MembershipQuestion): Promise<Membership> {
    const asking = this.#findStored(id, question).then((stored) => stored ?? this.#askNew(id, question))
    this.#asking.set(id, asking)
    try {
      return await asking
    } finally {
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
    }
  }

  /** What another tracker of the store was told. */
  async #findStored(id: string, question: MembershipQuestion): Promise<Membership | undefined> {
    const record = await this.#stored?.membership(id)
    if (record === undefined) return undefined
    this.restore([record], question.nowMs)
    return this.#usable(id, question)
  }

  async #askNew(id: string, question: MembershipQuestion): Promise<Membership> {
    const membership = await this.#askRegistry(question)
    this.#remember(id, membership)
    return membership
  }

  /** Where everybody is led to a login page, a redirect, or a page without a length, says nothing about the blob. */
  async #askRegistry(question: MembershipQuestion): Promise<Membership> {
    const { registry, repository, digest, nowMs } = question
    const head = await headBlob(question)
    const isProven = head.bytes !== undefined || registry.kind === 'none' || question.isOpen === true
    const isByGet = head.byGet === true
    if (!isProven && !(await this.#strangers.areRefused(registry, { repository, digest }, isByGet))) {
      expectUnlimited(registry, undefined)
      throw new RefusedError('CREDENTIAL_UNPROVEN', 'the registry redirects strangers as well')
    }
    return { bytes: head.bytes, untilMs: nowMs + MEMBERSHIP_MS }
  }
}

async function headBlob(question: MembershipQuestion): Promise<Extract<BlobHead, { isPresent: true }>> {
  const { registry, repository, digest, authorization, bytes } = question
  const head = await headOf(registry, { repository, digest, authorization, bytesExpected: bytes })
  if (head.isPresent) return head
  if (head.status === 404)
    throw new RefusedError('BLOB_NOT_IN_REPOSITORY', `${digest} is not in ${repository}`)
  throw new RefusedError('REGISTRY_REFUSED', `the registry answered ${head.status}`)
}
