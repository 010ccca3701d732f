import type { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { isAtLeast, type Right, type Role } from '../../core/admin-api/call.ts'
import { networkOf, plainAddress } from '../../core/network.ts'
import type { AdminTokens } from '../authority/admin-tokens.ts'
import { RefusedError } from '../errors.ts'
import { RequestLimits } from '../request-limits.ts'
import { type AdminAuthorities, shortOf } from './admin-authority.ts'

/** Who asks the admin API, and what they may. */

/**
 * Logins of one network that may fail: 32 at once, then one in 6 seconds. A token has 256 random bits, so this bounds the log,
 * not the chance of a guess; and whoever fails beside an administrator, behind one balancer, does not lock him out.
 */
const FAILED_LOGIN_BOUNDS = { requestsPerSecondMax: 1 / 6, requestsBurstMax: 32, requestsConcurrentMax: 0 }

/** Requests of one administrator over TLS: a script may label a thousand nodes, and a dashboard may not hold all streams. */
export const ADMIN_CALLER_BOUNDS = {
  requestsPerSecondMax: 50,
  requestsBurstMax: 1000,
  requestsConcurrentMax: 16,
}

export interface AdminCaller {
  /** For the audit log. */
  name: string
  role: Role
  /** Null: as long as the socket. */
  endsAtMs: number | null
}

/** Somebody on the tracker's machine who may open the socket in its data folder. */
export const OPERATOR: AdminCaller = { name: 'operator', role: 'admin', endsAtMs: null }

/** Recognises callers over TLS: by a token in `Authorization: Bearer`, or else by their certificate. */
export class RemoteCallers {
  readonly #admins: AdminAuthorities
  readonly #tokens: AdminTokens
  readonly #nowMs: () => number
  readonly #failures: RequestLimits
  readonly #requests: RequestLimits

  constructor(parts: { admins: AdminAuthorities; adminTokens: AdminTokens; nowMs(): number; log: Logger }) {
    this.#admins = parts.admins
    this.#tokens = parts.adminTokens
    this.#nowMs = parts.nowMs
    this.#failures = new RequestLimits(FAILED_LOGIN_BOUNDS, parts.log)
    this.#requests = new RequestLimits(ADMIN_CALLER_BOUNDS, parts.log)
  }

  /** Counts a request. @returns a function that ends it; call it once @throws TooManyRequestsError */
  enter({ name }: AdminCaller): () => void {
    return this.#requests.enter(name, this.#nowMs())
  }

  /**
   * Looks anew at every request: a connection may outlive a certificate, its authority and a token.
   * @throws RefusedError LOGIN_REQUIRED, LOGIN_REFUSED, CERTIFICATE_REFUSED; TooManyRequestsError
   */
  of(request: FastifyRequest): AdminCaller {
    const { authorization } = request.headers
    try {
      return authorization === undefined ? this.#certified(request) : this.#bearer(authorization)
    } catch (refusal) {
      this.#failures.enter(networkOf(plainAddress(request.ip)), this.#nowMs())()
      throw refusal
    }
  }

  #bearer(authorization: string): AdminCaller {
    const [, token] = /^Bearer +(\S+)$/i.exec(authorization) ?? []
    const found = token === undefined ? undefined : this.#tokens.find(token, this.#nowMs())
    if (found === undefined) {
      throw new RefusedError('LOGIN_REFUSED', 'there is no such token, or it has ended or was withdrawn')
    }
    return { name: `token ${found.name}`, role: found.role, endsAtMs: found.endsAtMs }
  }

  #certified(request: FastifyRequest): AdminCaller {
    const socket = request.raw.socket as TLSSocket
    const certificate = socket.getPeerX509Certificate()
    if (certificate === undefined) {
      throw new RefusedError('LOGIN_REQUIRED', 'a token or an administrator’s certificate is required')
    }
    if (isOfAnotherSite(request)) {
      throw new RefusedError('CERTIFICATE_REFUSED', 'a page of another site may not use this certificate')
    }
    const endsAtMs = certificate.validToDate.getTime()
    // TLS has already checked that it is for clients, and the chain at that time.
    if (!socket.authorized || endsAtMs <= this.#nowMs() || !this.#admins.hasIssued(certificate)) {
      throw new RefusedError(
        'CERTIFICATE_REFUSED',
        'the admin authority did not issue the certificate, or it has ended',
      )
    }
    return { name: `admin ${shortOf(certificate)}`, role: 'admin', endsAtMs }
  }
}

/**
 * A browser shows an administrator's certificate to this listener whichever page asks (Fetch Metadata §2.3). A token is sent
 * by nobody who does not have it.
 */
function isOfAnotherSite({ headers }: FastifyRequest): boolean {
  return headers['sec-fetch-site'] === 'cross-site' || headers['sec-fetch-site'] === 'same-site'
}

/** @throws RefusedError ROLE_TOO_LOW */
export function checkRight({ role }: AdminCaller, right: Right): void {
  // Calls with the right `local` have no route but on the socket.
  if (right === 'local' || isAtLeast(role, right)) return
  throw new RefusedError('ROLE_TOO_LOW', `this call is for the role ${right}, and the caller has ${role}`)
}
