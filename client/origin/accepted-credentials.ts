import { createHash } from 'node:crypto'
import { BoundedMap } from '../../core/bounded-map.ts'
import { endsAtMs } from '../../core/credential-expiry.ts'
import type { BlobRequest } from '../client.ts'

/** Remembered acceptances, a hash and a time each. A busy node has hundreds: tokens last for minutes. */
export const ACCEPTED_CREDENTIALS_MAX = 4096
/**
 * Longest time that an acceptance counts. A registry that ignores tokens would accept one that claims to last for
 * ever.
 */
export const ACCEPTED_MS_MAX = 3600 * 1000
/** The same for a credential without a known expiry: an opaque token, a password, or none. */
export const ACCEPTED_OPAQUE_MS = 60 * 1000

/** `registry`: the scope of what a registry says (core/repository.ts). */
type Acceptance = Pick<BlobRequest, 'repository' | 'credential'> & { registry: string }

/**
 * Credentials that this node saw a registry accept, by repository. Invariant: an entry is the registry's answer to
 * this very credential, never a signature that verifies.
 */
export class AcceptedCredentials {
  readonly #untilMs = new BoundedMap<string, number>(ACCEPTED_CREDENTIALS_MAX)
  /** Those that may be saved: the hash of a password, or of a short token, could be tried out. */
  readonly #savable = new BoundedMap<string, true>(ACCEPTED_CREDENTIALS_MAX)

  /** @param isOpen the registry is configured to need no credential, so no credential expires */
  note(acceptance: Acceptance, { isOpen, nowMs }: { isOpen: boolean; nowMs: number }): void {
    const { credential } = acceptance
    const isLasting = isOpen && credential.scheme === 'none'
    const tokenEndMs = endsAtMs(credential, nowMs)
    const endMs = isLasting ? nowMs + ACCEPTED_MS_MAX : (tokenEndMs ?? nowMs + ACCEPTED_OPAQUE_MS)
    const id = idOf(acceptance)
    this.#untilMs.set(id, Math.min(endMs, nowMs + ACCEPTED_MS_MAX))
    if (tokenEndMs !== undefined || credential.scheme === 'none') this.#savable.set(id, true)
  }

  /** For the time after a restart: hashes, and when they end. */
  record(nowMs: number): [string, number][] {
    return [...this.#savable.keys()].flatMap((id): [string, number][] => {
      const untilMs = this.#untilMs.get(id) ?? 0
      return untilMs > nowMs ? [[id, untilMs]] : []
    })
  }

  restore(record: readonly [string, number][], nowMs: number): void {
    for (const [id, untilMs] of record) {
      this.#untilMs.set(id, Math.min(untilMs, nowMs + ACCEPTED_MS_MAX))
      this.#savable.set(id, true)
    }
  }

  has(acceptance: Acceptance, nowMs: number): boolean {
    return (this.#untilMs.get(idOf(acceptance)) ?? 0) > nowMs
  }
}

/** The hash covers the whole token with its signature: peers are shown the rest of a token. */
function idOf({ registry, repository, credential }: Acceptance): string {
  const secret =
    credential.scheme === 'bearer' ? credential.token : credential.scheme === 'basic' ? credential.value : ''
  const text = JSON.stringify([registry, repository, credential.scheme, secret])
  return createHash('sha256').update(text).digest('base64url')
}
