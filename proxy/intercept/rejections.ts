import { BoundedMap } from '../../core/bounded-map.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { SocketOwner } from '../socket-owner.ts'

/**
 * Programs that do not trust our authority for a registry: their connections to it are tunnelled for a while, so that a
 * pull works even where the trust file is not read. Who rejected is known from the kernel (user and program), never from
 * what the connection says of itself: another user, or a curl that nobody told of Shoal, takes nothing away from Docker.
 * A handshake that succeeds clears what is remembered.
 */

/** The first time; each end of it costs that program one failed connection. */
export const TUNNEL_FIRST_MS = 30_000
/** Twice as long with each rejection in a row, up to this: short enough that a repair is noticed. */
export const TUNNEL_MAX_MS = 10 * 60_000
/** Users whose rejections are remembered, the latest. */
export const REJECTING_USERS_MAX = 64
/** Programs and registries remembered of one user: he may copy a program to as many names as he likes. */
export const REJECTIONS_PER_USER_MAX = 32

/** The TLS alerts of a client that does not accept the certificate: OpenSSL's 48 and 46, Go's 42 (RFC 8446 §6.2). */
const REJECTION = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/

/** Whether a failed handshake means that the client did not accept our certificate. */
export function isRejection(error: { code?: string }): boolean {
  return REJECTION.test(error.code ?? '')
}

interface Rejection {
  tunnelMs: number
  untilMs: number
}

export class Rejections {
  readonly #nowMs: () => number
  /** By user (undefined: unknown), then by program and registry. */
  readonly #users = new BoundedMap<number | undefined, BoundedMap<string, Rejection>>(REJECTING_USERS_MAX)

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** @returns for how long its connections are tunnelled now, in milliseconds */
  note(registry: RegistryHost, owner: SocketOwner | undefined): number {
    const known = this.#users.get(owner?.uid) ?? new BoundedMap<string, Rejection>(REJECTIONS_PER_USER_MAX)
    const key = keyOf(registry, owner)
    const last = known.get(key)
    const tunnelMs = last === undefined ? TUNNEL_FIRST_MS : Math.min(2 * last.tunnelMs, TUNNEL_MAX_MS)
    known.set(key, { tunnelMs, untilMs: this.#nowMs() + tunnelMs })
    this.#users.set(owner?.uid, known)
    return tunnelMs
  }

  /** It has accepted our certificate. */
  clear(registry: RegistryHost, owner: SocketOwner | undefined): void {
    this.#users.get(owner?.uid)?.delete(keyOf(registry, owner))
  }

  has(registry: RegistryHost, owner: SocketOwner | undefined): boolean {
    const rejection = this.#users.get(owner?.uid)?.get(keyOf(registry, owner))
    return rejection !== undefined && rejection.untilMs > this.#nowMs()
  }
}

function keyOf(registry: RegistryHost, owner: SocketOwner | undefined): string {
  return `${registry} ${owner?.executable ?? ''}`
}
