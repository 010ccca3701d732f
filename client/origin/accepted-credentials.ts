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

type Acceptance = Pick<BlobRequest, 'registry' | 'repository' | 'credential'>

/**
 * Credentials that this node saw a registry accept, by repository. Invariant: an entry is the registry's answer to
 * this very credential, never a signature that verifies.
 */
export class AcceptedCredentials {
  readonly #untilMs = new BoundedMap<string, number>(ACCEPTED_CREDENTIALS_MAX)

  /** @param isOpen the registry is configured to need no credential, so no credential expires */
  note(acceptance: Acceptance, { isOpen, nowMs }: { isOpen: boolean; nowMs: number }): void {
    const { credential } = acceptance
    const isLasting = isOpen && credential.scheme === 'none'
    const endMs = isLasting
      ? nowMs + ACCEPTED_MS_MAX
      : (endsAtMs(credential, nowMs) ?? nowMs + ACCEPTED_OPAQUE_MS)
    this.#untilMs.set(idOf(acceptance), Math.min(endMs, nowMs + ACCEPTED_MS_MAX))
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
