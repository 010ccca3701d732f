import { BoundedMap } from './bounded-map.ts'
import {
  type BlobHead,
  type BlobHeadRequest,
  type RegistryClient,
  RegistryUnreachableError,
} from './registry-client.ts'

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
    const isRefused = await refusesStrangers(registry, blob)
    if (isRefused === undefined) forget()
    return isRefused ?? false
  }
}

/** Whether the registry asks a stranger for a credential, asked now; undefined when it cannot be reached. */
export async function refusesStrangers(
  registry: RegistryClient,
  { repository, digest }: Blob,
): Promise<boolean | undefined> {
  try {
    return isRefusal(await registry.headBlob({ repository, digest, authorization: undefined }))
  } catch (error) {
    if (error instanceof RegistryUnreachableError) return undefined
    throw error
  }
}

export function isRefusal(head: BlobHead): boolean {
  return !head.isPresent && (head.status === 401 || head.status === 403)
}
