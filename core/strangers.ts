import type { BlobHead, BlobHeadRequest } from './blob-question.ts'
import { BoundedMap } from './bounded-map.ts'
import { type RegistryClient, RegistryUnreachableError } from './registry-client.ts'

/** How long a registry's answer to a stranger is remembered, for one repository. */
export const STRANGER_MS = 60_000
/** Bound of repositories whose answer is remembered. */
export const STRANGERS_MAX = 4096

type Blob = Pick<BlobHeadRequest, 'repository' | 'digest'>

interface Answer {
  isRefused: Promise<boolean>
  untilMs: number
}

/**
 * Remembers what registries answer to a request without a credential. A registry, or an ingress before it, may redirect
 * everybody to a login page or a new host. So a redirect shows that a caller may have a blob only if a stranger is refused.
 */
export class Strangers {
  readonly #answers = new BoundedMap<string, Answer>(STRANGERS_MAX)
  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** Whether a stranger gets 401 or 403 for the blob. Concurrent callers share one request. Never rejects. */
  areRefused(registry: RegistryClient, blob: Blob): Promise<boolean> {
    const id = `${registry.host} ${blob.repository}`
    const known = this.#answers.get(id)
    if (known !== undefined && known.untilMs > this.#nowMs()) return known.isRefused
    const isRefused = this.#ask(registry, blob, () => {
      if (this.#answers.get(id)?.isRefused === isRefused) this.#answers.delete(id)
    })
    this.#answers.set(id, { isRefused, untilMs: this.#nowMs() + STRANGER_MS })
    return isRefused
  }

  async #ask(registry: RegistryClient, blob: Blob, forget: () => void): Promise<boolean> {
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
  const head = await headAsStranger(registry, blob)
  return head && !head.isPresent && head.status === 401
}

async function headAsStranger(
  registry: RegistryClient,
  { repository, digest }: Blob,
): Promise<BlobHead | undefined> {
  try {
    return await registry.headBlob({ repository, digest, authorization: undefined, isOnce: true })
  } catch (error) {
    if (error instanceof RegistryUnreachableError) return undefined
    throw error
  }
}

export function isRefusal(head: BlobHead): boolean {
  return !head.isPresent && (head.status === 401 || head.status === 403)
}
