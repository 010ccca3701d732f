import type { X509Certificate } from 'node:crypto'
import type { PullClaims } from '../../core/certificate-claims.ts'
import type { BlobKey } from '../client.ts'
import type { ProvenToken } from '../membership/admission.ts'

/** Live pulls of the other side on one link. The node keeps a certificate and the token's claims of each. */
export const LINK_PULLS_MAX = 64

/** A pull that the other side of a link has opened. */
export interface OpenPull {
  claims: PullClaims
  certificate: X509Certificate
  /** Hex of the SHA-256 of its key (SPKI). */
  key: string
  /** Undefined for a registry that asks for no credential. */
  proven: ProvenToken | undefined
}

/**
 * What the other side of a link may download: the blobs that its live pulls name. Invariant: every pull in here was issued
 * to the node at the other end, and signed and proven on this link. Pure.
 */
export class OpenPulls {
  readonly #live = new Map<string, OpenPull>()

  get size(): number {
    return this.#live.size
  }

  hasRoomFor(pullId: string): boolean {
    return this.#live.has(pullId) || this.#live.size < LINK_PULLS_MAX
  }

  add(pull: OpenPull): void {
    this.#live.set(pull.claims.pullId, pull)
  }

  /**
   * The live pull that this one renews: the same pull of the same token under the same key. It was proven, and its proof
   * covers the new certificate.
   */
  renewedBy({ claims, key }: Pick<OpenPull, 'claims' | 'key'>): OpenPull | undefined {
    const before = this.#live.get(claims.pullId)
    if (before === undefined || before.key !== key) return undefined
    const { registry, repository, tokenHash, grantedAtSeconds } = before.claims
    const isSame =
      claims.registry === registry &&
      claims.repository === repository &&
      claims.tokenHash === tokenHash &&
      claims.grantedAtSeconds === grantedAtSeconds
    return isSame ? before : undefined
  }

  /** @returns false when it was not open */
  close(pullId: string): boolean {
    return this.#live.delete(pullId)
  }

  /** Closes the pulls that do not pass. @returns their ids */
  retain(isGood: (pull: OpenPull) => boolean): string[] {
    const closed = [...this.#live].filter(([, pull]) => !isGood(pull)).map(([id]) => id)
    for (const id of closed) this.#live.delete(id)
    return closed
  }

  some(isMeant: (pull: OpenPull) => boolean): boolean {
    return this.#live.values().some(isMeant)
  }

  /** A live pull names the blob. */
  opens({ registry, digest }: BlobKey): boolean {
    for (const { claims } of this.#live.values())
      if (claims.registry === registry && claims.blobs.includes(digest)) return true
    return false
  }

  /** When the first of them ends; undefined when there is none. */
  firstEndMs(): number | undefined {
    const ends = [...this.#live.values()].map(({ certificate }) => certificate.validToDate.getTime())
    return ends.length === 0 ? undefined : Math.min(...ends)
  }
}
