import { createHash } from 'node:crypto'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { BlobRequest } from '../client.ts'
import { endsAtMs } from './credential-expiry.ts'

/** Bound of remembered acceptances, a hash and a time each: of tokens of some minutes, a busy node has hundreds. */
export const ACCEPTED_CREDENTIALS_MAX = 4096
/** How long an acceptance stands at most: a registry that ignores tokens accepts one that claims to last for ever. */
export const ACCEPTED_MS_MAX = 3600 * 1000
/** How long that of a credential stands whose end nobody can tell: opaque, a password, or none. */
export const ACCEPTED_OPAQUE_MS = 60 * 1000

type Acceptance = Pick<BlobRequest, 'registry' | 'repository' | 'credential'>

/**
 * Which credentials this node saw a registry accept, and for which repository. Invariant: what is remembered is an
 * answer of the registry to this very credential, never a signature that verifies.
 */
export class AcceptedCredentials {
  readonly #untilMs = new BoundedMap<string, number>(ACCEPTED_CREDENTIALS_MAX)

  /** @param isOpen the registry is configured to ask for no credential, so that none ends */
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

/** A hash of all of it, the signature too: a peer is shown the rest of a token. */
function idOf({ registry, repository, credential }: Acceptance): string {
  const secret =
    credential.scheme === 'bearer' ? credential.token : credential.scheme === 'basic' ? credential.value : ''
  const text = JSON.stringify([registry, repository, credential.scheme, secret])
  return createHash('sha256').update(text).digest('base64url')
}
