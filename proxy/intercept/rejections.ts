import { BoundedMap } from '../../core/bounded-map.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { SocketOwner } from '../socket-owner.ts'

/**
 * Programs that do not trust our authority for a registry. Their connections to it are tunnelled for a while, so that a
 * pull works even if the program does not read the trust file. The kernel names user, program and service; the
 * connection's own claims do not count. So another user, or a curl that does not know Shoal, takes nothing away from
 * Docker. Where the program cannot be seen, it counts for all programs of the user. A successful handshake clears the entry.
 */

/** Time after the first rejection; when it ends, it costs the program one more failed connection. */
export const TUNNEL_FIRST_MS = 30_000
/** The time doubles with each rejection in a row, up to this bound: short enough to notice a repair. */
export const TUNNEL_MAX_MS = 10 * 60_000
/** A program that has not connected for this long after its tunnels ended is forgotten. */
export const REJECTION_KEPT_MS = 3600_000
/** A pull reads Docker's trust files once: rejections this soon after the authority changed may be about the old one. */
export const AUTHORITY_GRACE_MS = 5_000
/** Bound of such rejections that one program has free: Docker fetches a manifest and three layers side by side. */
export const AUTHORITY_GRACE_REJECTIONS_MAX = 4
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

/** A program at a registry, as operators are told of it. */
export interface RejectingProgram {
  registry: RegistryHost
  owner: SocketOwner
}

interface Rejection extends RejectingProgram {
  /** 0 before the first rejection that counts. */
  tunnelMs: number
  untilMs: number
  /** Rejections, since the authority changed, that did not count. */
  graced: number
}

export class Rejections {
  readonly #nowMs: () => number
  /** By user, then by program and registry. */
  readonly #users = new BoundedMap<number, BoundedMap<string, Rejection>>(REJECTING_USERS_MAX)
  /** Registries where somebody accepted our certificate, and nobody unknown rejected it within the first tunnel's time. */
  readonly #trusted = new Map<RegistryHost, { fromMs: number }>()
  #graceEndsAtMs = Number.NEGATIVE_INFINITY

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** Clients may still hold the authority of before. */
  authorityChanged(): void {
    this.#graceEndsAtMs = this.#nowMs() + AUTHORITY_GRACE_MS
    this.#trusted.clear()
    for (const rejection of this.#all()) rejection.graced = 0
  }

  /**
   * Whether a connection's owner matters before its handshake: some program rejected our certificate for this registry, or
   * may do so, as none has accepted it yet. Elsewhere nobody waits for the kernel's tables.
   */
  isInDoubt(registry: RegistryHost): boolean {
    const trusted = this.#trusted.get(registry)
    if (trusted === undefined || trusted.fromMs > this.#nowMs()) return true
    return this.#all().some((rejection) => rejection.registry === registry)
  }

  /**
   * @param beganAtMs when the connection began
   * @returns how long the program's connections are tunnelled now, in milliseconds
   */
  note(registry: RegistryHost, owner: SocketOwner | undefined, beganAtMs: number = this.#nowMs()): number {
    // Nobody's: it would count against every program whose lookup is late. The next connections wait for their lookup, and
    // what rejects and cannot be seen even then counts against its user.
    if (owner === undefined || (owner.executable === undefined && !this.isInDoubt(registry))) {
      this.#trusted.set(registry, { fromMs: this.#nowMs() + TUNNEL_FIRST_MS })
      return 0
    }
    const known = this.#users.get(owner.uid) ?? new BoundedMap<string, Rejection>(REJECTIONS_PER_USER_MAX)
    const key = keyOf(registry, owner)
    const last = known.get(key) ?? { registry, owner, tunnelMs: 0, untilMs: this.#nowMs(), graced: 0 }
    const isGraced = beganAtMs < this.#graceEndsAtMs && last.graced < AUTHORITY_GRACE_REJECTIONS_MAX
    if (isGraced) last.graced += 1
    else {
      last.tunnelMs = last.tunnelMs === 0 ? TUNNEL_FIRST_MS : Math.min(2 * last.tunnelMs, TUNNEL_MAX_MS)
      last.untilMs = this.#nowMs() + last.tunnelMs
    }
    known.set(key, last)
    this.#users.set(owner.uid, known)
    return isGraced ? 0 : last.tunnelMs
  }

  /** The program has accepted our certificate. */
  clear(registry: RegistryHost, owner: SocketOwner | undefined): void {
    if (!this.#trusted.has(registry)) this.#trusted.set(registry, { fromMs: this.#nowMs() })
    for (const key of keysOf(registry, owner)) this.#users.get(owner!.uid)?.delete(key)
  }

  has(registry: RegistryHost, owner: SocketOwner | undefined): boolean {
    const known = keysOf(registry, owner).map((key) => this.#users.get(owner!.uid)?.get(key))
    return known.some((rejection) => rejection !== undefined && rejection.untilMs > this.#nowMs())
  }

  /** Forgets the programs that came no more. */
  forgetOld(): void {
    const keptFromMs = this.#nowMs() - REJECTION_KEPT_MS
    const old = this.#all().filter(({ untilMs }) => untilMs < keptFromMs)
    for (const { registry, owner } of old) this.#users.get(owner.uid)?.delete(keyOf(registry, owner))
  }

  #all(): Rejection[] {
    return [...this.#users.values()].flatMap((rejections) => [...rejections.values()])
  }
}

/** What counts for a program: itself, and its user where a program was not known. */
function keysOf(registry: RegistryHost, owner: SocketOwner | undefined): string[] {
  return owner === undefined ? [] : [keyOf(registry, owner), keyOf(registry, { uid: owner.uid })]
}

/** A service has settings of its own. The scope of a login is another one each time, and so tells programs apart no better. */
function keyOf(registry: RegistryHost, { executable = '', unit = '' }: SocketOwner): string {
  return [registry, executable, unit.endsWith('.service') ? unit : ''].join(' ')
}
