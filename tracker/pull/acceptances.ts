import { createHash } from 'node:crypto'
import { methodFor, type QuestionMethod } from '../../core/blob-question.ts'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { Digest } from '../../core/digest.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import { type Repository, scopeOf } from '../../core/repository.ts'
import { isRefusal } from '../../core/strangers.ts'
import { RefusedError } from '../errors.ts'
import type { AcceptanceRecord } from '../store/memory.ts'
import type { Memberships } from './membership.ts'
import { headOf } from './registry-head.ts'
import type { StoredAnswers } from './stored-answers.ts'

/** How long an opaque credential counts as accepted, because nobody can tell when it ends. */
export const OPAQUE_ACCEPTANCE_MS = 60_000
/** An acceptance counts for at most this long, as a pull does: a token may claim to last for ever. */
export const ACCEPTANCE_MS_MAX = 6 * 3600 * 1000
/** How long "the registry refuses strangers this repository" is remembered. */
export const STRANGERS_REFUSED_MS = 60_000
/** Bound of remembered acceptances: about 200 bytes each. The oldest are forgotten, and asked about again. */
export const ACCEPTANCES_MAX = 50_000
/** Bound of repositories known to refuse strangers: about 300 bytes each. */
export const CLOSED_REPOSITORIES_MAX = 10_000
/** Keeps a caller from making the tracker ask the registry about each of its blobs. */
export const ASKED_BLOBS_MAX = 3

export interface AcceptanceQuestion {
  registry: RegistryClient
  repository: Repository
  /** The whole Authorization header. */
  authorization: string
  /** A bearer token that the registry must refuse, where the token proves nothing by itself. */
  alteredToken?: string
  /**
   * Nothing else shows that the registry looked at the credential: strangers are asked about now, whatever is remembered.
   * A registry may have begun to answer everybody with a login page.
   */
  isOnlyProof?: boolean
  /** Blobs that the caller says are in the repository. */
  digests: readonly Digest[]
  /** When the credential ends; undefined for opaque ones. */
  endsAtMs: number | undefined
  nowMs: number
}

interface Acceptance {
  /** The blob that the registry served. */
  digest: Digest
  untilMs: number
}

/**
 * Remembers which credentials the registry accepted for which repository. This decides a grant, except under a configured
 * token key. Invariant: the key of an entry is a hash of the repository and the whole Authorization, of which peers see
 * only a part (a token's signing input). Which blobs are in a repository is remembered apart (membership.ts). Only signed
 * tokens are saved, as that hash: the hash of a password could be tried out.
 */
export class Acceptances {
  readonly #memberships: Memberships
  readonly #stored: Pick<StoredAnswers, 'acceptance'> | undefined
  readonly #accepted = new BoundedMap<string, Acceptance>(ACCEPTANCES_MAX)
  #unsaved = new BoundedMap<string, AcceptanceRecord>(ACCEPTANCES_MAX)
  readonly #asking = new Map<string, Promise<Acceptance>>()
  readonly #closedUntilMs = new BoundedMap<string, number>(CLOSED_REPOSITORIES_MAX)

  /** @param stored what other trackers of the store were told */
  constructor(memberships: Memberships, stored?: Pick<StoredAnswers, 'acceptance'>) {
    this.#memberships = memberships
    this.#stored = stored
  }

  /** @param records as saved, by this tracker before a restart or by another one */
  restore(records: readonly AcceptanceRecord[], nowMs: number): void {
    for (const { id, digest, untilMs } of records) {
      this.#accepted.set(id, { digest, untilMs: Math.min(untilMs, nowMs + ACCEPTANCE_MS_MAX) })
    }
  }

  /** Those since the last call. */
  takeUnsaved(): AcceptanceRecord[] {
    const unsaved = [...this.#unsaved.values()]
    this.#unsaved = new BoundedMap(ACCEPTANCES_MAX)
    return unsaved
  }

  /**
   * Makes sure that the registry accepts the credential for the repository and refuses strangers. A blob that it serves
   * to everybody, or a redirect to a login page, proves nothing. Wrong passwords are not tried, because registries lock
   * accounts for them.
   * @returns a blob that the registry served
   * @throws RefusedError REGISTRY_REFUSED, BLOB_NOT_IN_REPOSITORY, CREDENTIAL_UNPROVEN, REGISTRY_LIMITED,
   *   REGISTRY_UNREACHABLE
   */
  async check(question: AcceptanceQuestion): Promise<Digest> {
    const id = idOf(question)
    const known = this.#accepted.get(id)
    if (known !== undefined && known.untilMs > question.nowMs) return known.digest
    // Another caller may have failed because of the blobs that it named.
    const theirs = await this.#asking.get(id)?.catch(() => undefined)
    return (theirs ?? (await this.#askOnce(id, question))).digest
  }

  async #askOnce(id: string, question: AcceptanceQuestion): Promise<Acceptance> {
    const asking = this.#findStored(id, question).then((stored) => stored ?? this.#askNew(id, question))
    this.#asking.set(id, asking)
    try {
      return await asking
    } finally {
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
    }
  }

  /** What another tracker of the store was told. Of opaque credentials nothing is stored. */
  async #findStored(id: string, { endsAtMs, nowMs }: AcceptanceQuestion): Promise<Acceptance | undefined> {
    const record = endsAtMs === undefined ? undefined : await this.#stored?.acceptance(id)
    if (record === undefined || record.untilMs <= nowMs) return undefined
    this.restore([record], nowMs)
    return record
  }

  async #askNew(id: string, question: AcceptanceQuestion): Promise<Acceptance> {
    const acceptance = await this.#ask(question)
    this.#accepted.set(id, acceptance)
    if (question.endsAtMs !== undefined) this.#unsaved.set(id, { id, ...acceptance })
    return acceptance
  }

  async #ask(question: AcceptanceQuestion): Promise<Acceptance> {
    const { nowMs, endsAtMs = nowMs + OPAQUE_ACCEPTANCE_MS } = question
    const others = new AbortController()
    try {
      // Side by side: a registry may take seconds for each answer.
      const beside = this.#checkOthersBeside(question, others.signal)
      const { digest, bytes, by } = await servedBlob(question)
      // Asked by the other method, they may have been refused only because it is refused to everybody.
      const isAlike = digest === beside?.digest && by === beside.by
      await (isAlike ? beside.refusing : this.#checkOthers(question, { digest, by }))
      // Only now: of a blob that is not there, a refusal to strangers says nothing.
      if (this.#isDueForStrangers(question, by))
        this.#closedUntilMs.set(repositoryOf(question, by), nowMs + STRANGERS_REFUSED_MS)
      // Only now: a redirect to a login page says nothing about the blob.
      this.#memberships.note({ ...question, digest }, bytes)
      return { digest, untilMs: Math.min(endsAtMs, nowMs + ACCEPTANCE_MS_MAX) }
    } finally {
      others.abort(new Error('decided without this answer'))
    }
  }

  /** Asks in the way in which the caller is probably served. */
  #checkOthersBeside(question: AcceptanceQuestion, signal: AbortSignal) {
    const [digest] = question.digests
    if (digest === undefined) return undefined
    const by = methodFor(question.registry.habits, question.repository)
    const refusing = this.#checkOthers(question, { digest, by, signal })
    refusing.catch(() => undefined)
    return { digest, by, refusing }
  }

  /** Neither a stranger nor another token gets the blob. */
  async #checkOthers(question: AcceptanceQuestion, other: Other): Promise<void> {
    const { alteredToken } = question
    const others = [
      ...(this.#isDueForStrangers(question, other.by) ? [undefined] : []),
      ...(alteredToken === undefined ? [] : [`Bearer ${alteredToken}`]),
    ]
    await Promise.all(others.map((authorization) => expectRefusal(question, { ...other, authorization })))
  }

  #isDueForStrangers(question: AcceptanceQuestion, by: QuestionMethod): boolean {
    const closedUntilMs = this.#closedUntilMs.get(repositoryOf(question, by)) ?? 0
    return question.isOnlyProof === true || closedUntilMs <= question.nowMs
  }
}

/** How others than the caller are asked about the blob: as the caller was. */
interface Other {
  digest: Digest
  by: QuestionMethod
  signal?: AbortSignal
}

function repositoryOf({ registry, repository }: AcceptanceQuestion, by: QuestionMethod): string {
  return `${scopeOf(registry)} ${repository} ${by}`
}

/** The first blob that the registry serves to this credential. */
async function servedBlob({ registry, repository, authorization, digests }: AcceptanceQuestion) {
  for (const digest of digests.slice(0, ASKED_BLOBS_MAX)) {
    const head = await headOf(registry, { repository, digest, authorization })
    if (head.isPresent)
      return { digest, bytes: head.bytes, by: head.byGet ? ('GET' as const) : ('HEAD' as const) }
    if (head.status !== 404)
      throw new RefusedError('REGISTRY_REFUSED', `the registry answered ${head.status}`)
  }
  throw new RefusedError('BLOB_NOT_IN_REPOSITORY', `none of the blobs asked about is in ${repository}`)
}

/** SHA-256; no part can contain the NUL that separates them. */
function idOf({ registry, repository, authorization, alteredToken }: AcceptanceQuestion): string {
  // An acceptance that left out the altered token does not stand for one that needs it.
  const form = alteredToken === undefined ? [] : ['altered']
  const parts = [scopeOf(registry), repository, authorization, ...form]
  return createHash('sha256').update(parts.join('\0')).digest('base64')
}

/** @throws RefusedError CREDENTIAL_UNPROVEN */
async function expectRefusal(
  { registry, repository }: AcceptanceQuestion,
  { by, ...other }: Other & { authorization: string | undefined },
): Promise<void> {
  // With a client certificate the tracker is no stranger: that the registry refuses one cannot be seen.
  if (!registry.hasIdentity && isRefusal(await headOf(registry, { repository, onceBy: by, ...other }))) return
  throw new RefusedError('CREDENTIAL_UNPROVEN', 'the registry serves the blob to strangers too')
}
