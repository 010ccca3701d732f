import { BoundedMap } from '../../core/bounded-map.ts'
import type { RegistryHost } from '../../core/repository.ts'

/**
 * Clients that do not trust our authority for a registry: their connections to it are tunnelled for a while, so that a
 * pull works even where the trust file is not read. A client is known by the User-Agent of its CONNECT request, the
 * only thing that it shows before TLS: a curl that nobody told of Shoal takes nothing away from Docker.
 */

/** Long, because each end of it costs that client one failed connection; short enough that a repair is noticed. */
export const TUNNEL_AFTER_REJECTION_MS = 10 * 60_000
/** Bound of remembered rejections; a local program may invent names. */
const REJECTIONS_MAX = 256

/** The TLS alerts of a client that does not accept the certificate: OpenSSL's 48 and 46, Go's 42 (RFC 8446 §6.2). */
const REJECTION = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/

export interface ConnectingClient {
  registry: RegistryHost
  userAgent: string
}

/** Whether a failed handshake means that the client did not accept our certificate. */
export function isRejection(error: { code?: string }): boolean {
  return REJECTION.test(error.code ?? '')
}

export class Rejections {
  readonly #nowMs: () => number
  readonly #untilMs = new BoundedMap<string, number>(REJECTIONS_MAX)

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  note(client: ConnectingClient): void {
    this.#untilMs.set(keyOf(client), this.#nowMs() + TUNNEL_AFTER_REJECTION_MS)
  }

  has(client: ConnectingClient): boolean {
    const untilMs = this.#untilMs.get(keyOf(client))
    return untilMs !== undefined && untilMs > this.#nowMs()
  }
}

function keyOf({ registry, userAgent }: ConnectingClient): string {
  return `${registry} ${userAgent}`
}
