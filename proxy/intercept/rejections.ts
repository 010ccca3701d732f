import { BoundedMap } from '../../core/bounded-map.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { SocketOwner } from '../socket-owner.ts'

/**
 * Programs that do not trust our authority for a registry. Their connections to it are tunnelled for a while, so that a
 * pull works even if the program does not read the trust file. The kernel names user and program; the connection's own
 * claims do not count. So another user, or a curl that does not know Shoal, takes nothing away from Docker. A successful
 * handshake clears the entry.
 */

/** Time after the first rejection; when it ends, it costs the program one more failed connection. */
export const TUNNEL_FIRST_MS = 30_000
/** The time doubles with each rejection in a row, up to this bound: short enough to notice a repair. */
export const TUNNEL_MAX_MS = 10 * 60_000
/** Bound of users whose rejections are remembered; the oldest go first. */
export const REJECTING_USERS_MAX = 64
/** Bound of programs and registries remembered per user: a user may copy a program to any number of names. */
export const REJECTIONS_PER_USER_MAX = 32

/** TLS alerts of clients that do not accept the certificate: 48 and 46 from OpenSSL, 42 from Go (RFC 8446 §6.2). */
const REJECTION = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/

/** Whether the handshake failed because the client did not accept our certificate. */
export function isRejection(error: { code?: string }): boolean {
  return REJECTION.test(error.code ?? '')
}

interface Rejection {
  tunnelMs: number
  untilMs: number
}

export class Rejections {
  readonly #nowMs: () => number
  /** By user, then by program and registry. */
  readonly #users = new BoundedMap<number, BoundedMap<string, Rejection>>(REJECTING_USERS_MAX)

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** @returns how long the program's connections are tunnelled now, in milliseconds */
  note(registry: RegistryHost, owner: SocketOwner | undefined): number {
    // Nobody's: it would count against every program whose lookup is late.
    if (owner === undefined) return 0
    const known = this.#users.get(owner.uid) ?? new BoundedMap<string, Rejection>(REJECTIONS_PER_USER_MAX)
    const key = keyOf(registry, owner)
    const last = known.get(key)
    const tunnelMs = last === undefined ? TUNNEL_FIRST_MS : Math.min(2 * last.tunnelMs, TUNNEL_MAX_MS)
    known.set(key, { tunnelMs, untilMs: this.#nowMs() + tunnelMs })
    this.#users.set(owner.uid, known)
    return tunnelMs
  }

  /** The program has accepted our certificate. */
  clear(registry: RegistryHost, owner: SocketOwner | undefined): void {
    if (owner !== undefined) this.#users.get(owner.uid)?.delete(keyOf(registry, owner))
  }

  has(registry: RegistryHost, owner: SocketOwner | undefined): boolean {
    if (owner === undefined) return false
    const rejection = this.#users.get(owner.uid)?.get(keyOf(registry, owner))
    return rejection !== undefined && rejection.untilMs > this.#nowMs()
  }
}

function keyOf(registry: RegistryHost, { executable = '' }: SocketOwner): string {
  return `${registry} ${executable}`
}
