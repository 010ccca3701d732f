import { createHash } from 'node:crypto'
import { BoundedMap } from '../core/bounded-map.ts'
import { endsAtMs } from '../core/credential-expiry.ts'
import { untilAborted } from '../core/patience.ts'
import type { RegistryHost } from '../core/repository.ts'
import type { BlobGet } from './blob-request.ts'

/** How long one acceptance of the registry counts for the same request. A lazy reader asks for hundreds of ranges of a blob. */
export const ACCEPTED_REQUEST_MS = 60_000
/** Bound of remembered acceptances: a hash, a length and a time each. The oldest are forgotten, and asked for again. */
export const ACCEPTED_REQUESTS_MAX = 4096

/** What the registry answered, if it accepted the request. */
interface Accepted {
  bytes: number | undefined
  /** When it said so. */
  atMs: number
}

interface Asking<Answer> {
  answer: Promise<Answer>
  askers: number
  abort: AbortController
}

/**
 * One authorising request for each blob, caller and minute. Invariant: an entry is the registry's own acceptance of this very
 * Authorization header (its hash; none counts as a header of its own) for this blob of this repository. It never
 * outlives the token. Refusals are not remembered: the registry is asked again.
 */
export class AcceptedRequests<Answer extends object> {
  readonly #accepted = new BoundedMap<string, Accepted & { untilMs: number }>(ACCEPTED_REQUESTS_MAX)
  readonly #asking = new Map<string, Asking<Answer>>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  /** What the registry said within the last minute; undefined if it must be asked. */
  find(registry: RegistryHost, wanted: BlobGet): Accepted | undefined {
    const known = this.#accepted.get(idOf(registry, wanted))
    return known !== undefined && known.untilMs > this.#nowMs() ? known : undefined
  }

  note(registry: RegistryHost, wanted: BlobGet, { bytes }: Pick<Accepted, 'bytes'>): void {
    const nowMs = this.#nowMs()
    const endMs = endsAtMs(wanted.credential, nowMs) ?? Number.POSITIVE_INFINITY
    this.#accepted.set(idOf(registry, wanted), {
      ...{ bytes, atMs: nowMs },
      untilMs: Math.min(nowMs + ACCEPTED_REQUEST_MS, endMs),
    })
  }

  /**
   * Requests that would ask the same at the same time share one answer. The last one that goes away ends the asking.
   * @param signal this caller has gone
   */
  async share(
    registry: RegistryHost,
    wanted: BlobGet,
    { ask, signal }: { ask: (signal: AbortSignal) => Promise<Answer>; signal: AbortSignal },
  ): Promise<Answer> {
    signal.throwIfAborted()
    const id = idOf(registry, wanted)
    const asking = this.#asking.get(id) ?? this.#begin(id, ask)
    asking.askers += 1
    const leave = () => {
      asking.askers -= 1
      if (asking.askers > 0) return
      // Whoever comes next must not join an asking that ends.
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
      asking.abort.abort(signal.reason)
    }
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await untilAborted(asking.answer, signal)
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  #begin(id: string, ask: (signal: AbortSignal) => Promise<Answer>): Asking<Answer> {
    const abort = new AbortController()
    const asking: Asking<Answer> = { answer: ask(abort.signal), askers: 0, abort }
    this.#asking.set(id, asking)
    const end = () => {
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
    }
    asking.answer.then(end, end)
    return asking
  }
}

function idOf(registry: RegistryHost, { repository, digest, authorization, query }: BlobGet): string {
  return createHash('sha256')
    .update(JSON.stringify([registry, repository, digest, query, authorization ?? null]))
    .digest('base64url')
}
