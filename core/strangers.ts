import { randomBytes } from 'node:crypto'
import type { BlobHead, BlobHeadRequest, QuestionMethod } from './blob-question.ts'
import { BoundedMap } from './bounded-map.ts'
import { type Digest, digestFromHex } from './digest.ts'
import { byOneMethod } from './one-method.ts'
import { type RegistryClient, RegistryUnreachableError } from './registry-client.ts'

/** How long a registry's answer to a stranger is remembered, for one repository. */
export const STRANGER_MS = 60_000
/** Bound of repositories whose answer is remembered. */
export const STRANGERS_MAX = 4096

type Blob = Pick<BlobHeadRequest, 'repository' | 'digest'>
type StrangerQuestion = Blob & { by: QuestionMethod; signal?: AbortSignal }

/** How a registry treats a stranger. `unknown`: it did not answer, or with a 5xx or 429. */
export type StrangerStanding = 'served' | 'refused' | 'unknown'

interface Answer {
  /** The blob that was asked for. */
  digest: Digest
  isRefused: Promise<boolean>
  untilMs: number
}

/**
 * Remembers what registries answer to a request without a credential. A registry, or an ingress before it, may redirect
 * everybody to a login page or a new host. So a redirect shows that a caller may have a blob only if a stranger is refused.
 */
export class Strangers {
  readonly #answers = new BoundedMap<string, Answer>(STRANGERS_MAX)
  readonly #openUntilMs = new BoundedMap<string, number>(STRANGERS_MAX)
  readonly #asking = new Map<string, Promise<StrangerStanding>>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /**
   * Whether a stranger gets 401 or 403 for the blob, asked as the caller was. Concurrent callers share one request. Never
   * rejects.
   */
  areRefused(registry: RegistryClient, blob: Blob, isByGet = false): Promise<boolean> {
    const by = isByGet ? 'GET' : 'HEAD'
    const id = repositoryIdOf(registry, blob, by)
    const known = this.#known(id)
    if (known !== undefined) return known.isRefused
    const isRefused = this.#ask(registry, { ...blob, by }, () => {
      if (this.#answers.get(id)?.isRefused === isRefused) this.#answers.delete(id)
    })
    this.#answers.set(id, { digest: blob.digest, isRefused, untilMs: this.#nowMs() + STRANGER_MS })
    return isRefused
  }

  /**
   * Whether a stranger gets 401 or 403 for this very blob, asked as the caller was: of a repository that is open in part he
   * gets others. Never rejects.
   */
  isRefused(registry: RegistryClient, blob: Blob, isByGet = false): Promise<boolean> {
    const by = isByGet ? 'GET' : 'HEAD'
    const known = this.#known(repositoryIdOf(registry, blob, by))
    if (known === undefined) return this.areRefused(registry, blob, isByGet)
    return known.digest === blob.digest
      ? known.isRefused
      : this.#ask(registry, { ...blob, by }, () => undefined)
  }

  /**
   * How the registry treats a stranger who wants the blob. Remembers for a minute that the blob is open, but no refusal: a
   * caller may have named a blob that is not there. Never rejects.
   */
  standing(registry: RegistryClient, blob: Blob): Promise<StrangerStanding> {
    if (this.isOpen(registry, blob)) return Promise.resolve('served')
    const id = idOf(registry, blob)
    const running = this.#asking.get(id)
    if (running !== undefined) return running
    const askedAtMs = this.#nowMs()
    const asking = standingNow(registry, blob)
      .then((standing) => {
        if (standing === 'served') this.#openUntilMs.set(id, askedAtMs + STRANGER_MS)
        return standing
      })
      .finally(() => this.#asking.delete(id))
    this.#asking.set(id, asking)
    return asking
  }

  /** Whether strangers were served the blob within the last minute. */
  isOpen(registry: RegistryClient, blob: Blob): boolean {
    return (this.#openUntilMs.get(idOf(registry, blob)) ?? 0) > this.#nowMs()
  }

  #known(id: string): Answer | undefined {
    const known = this.#answers.get(id)
    return known !== undefined && known.untilMs > this.#nowMs() ? known : undefined
  }

  async #ask(registry: RegistryClient, blob: StrangerQuestion, forget: () => void): Promise<boolean> {
    const head = await headAsStranger(registry, blob)
    if (head === undefined) forget()
    return head !== undefined && isRefusal(head)
  }
}

/**
 * Whether the registry asks a stranger for a credential (401), asked now. A 403 may only mean that there is no such blob.
 * Undefined when the registry cannot be reached.
 */
export async function asksForCredentials(registry: RegistryClient, blob: Blob): Promise<boolean | undefined> {
  const head = await firstWordTo(registry, blob)
  return head && !head.isPresent && head.status === 401
}

/**
 * A stranger is served if he gets the blob itself, but 404 for a made-up one. An ingress may send everybody to a login page,
 * with 200 and a length; it does so whatever blob is named. A redirect may lead to somebody who asks for a credential.
 */
async function standingNow(registry: RegistryClient, blob: Blob): Promise<StrangerStanding> {
  const head = await firstWordTo(registry, blob)
  if (head === undefined) return 'unknown'
  if (!head.isPresent) return head.status >= 500 ? 'unknown' : 'refused'
  if (head.isRedirect) return 'refused'
  const madeUp = digestFromHex(randomBytes(32).toString('hex'))
  const by = head.byGet ? 'GET' : 'HEAD'
  const control = await headAsStranger(registry, { repository: blob.repository, digest: madeUp, by })
  if (control === undefined) return 'unknown'
  return !control.isPresent && control.status === 404 ? 'served' : 'refused'
}

/** By HEAD, or by GET where HEAD is late: there is no other answer yet that this one is compared with. */
function firstWordTo(registry: RegistryClient, blob: Blob): Promise<BlobHead | undefined> {
  return ifAnswered(() =>
    byOneMethod(registry, blob.repository, (by, signal) => askAsStranger(registry, { ...blob, by, signal })),
  )
}

function headAsStranger(registry: RegistryClient, question: StrangerQuestion): Promise<BlobHead | undefined> {
  return ifAnswered(() => askAsStranger(registry, question))
}

async function askAsStranger(
  registry: RegistryClient,
  { by, ...question }: StrangerQuestion,
): Promise<BlobHead | undefined> {
  // With a client certificate this process is no stranger, and cannot ask as one.
  if (registry.hasIdentity) return undefined
  // It told this process to wait.
  if (registry.limit.leftMs(undefined) > 0) return undefined
  const head = await registry.headBlob({ ...question, authorization: undefined, onceBy: by })
  return !head.isPresent && head.status === 429 ? undefined : head
}

async function ifAnswered<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof RegistryUnreachableError) return undefined
    throw error
  }
}

function repositoryIdOf({ host }: RegistryClient, { repository }: Blob, by: QuestionMethod): string {
  return `${host} ${repository} ${by}`
}

function idOf({ host }: RegistryClient, { repository, digest }: Blob): string {
  return `${host} ${repository} ${digest}`
}

export function isRefusal(head: BlobHead): boolean {
  return !head.isPresent && (head.status === 401 || head.status === 403)
}
