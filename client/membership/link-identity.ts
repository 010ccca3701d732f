import type { JoinRequest, JoinResponse } from '../../core/join-api.ts'
import type { HeartbeatRequest, HeartbeatResponse } from '../../core/tracker-api.ts'
import { WIRE_VERSION, WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import { type NodeIdentity, RENEW_AT_SHARE } from './node-identity.ts'
import type { LinkRecord } from './node-memory.ts'

type Fields<Request> = Partial<Pick<Request, keyof Request & ('wire' | 'wantsLinkCertificate')>>

/**
 * What this node shows at both ends of its links: a certificate for its own key, which opens no blob. Comes with the join,
 * and is renewed by heartbeats. Invariant: a tracker that named no wire version is sent none, since it refuses the field.
 */
export class LinkIdentity {
  /** The newest wire version that this node speaks. */
  readonly wire: number
  readonly #identity: NodeIdentity
  readonly #trust: ClusterTrustState
  #credential: PeerCredential | undefined
  #renewAtMs = 0
  /** Undefined before the first answer. */
  #doesTrackerKnow: boolean | undefined

  constructor(
    identity: NodeIdentity,
    { trust, wire = WIRE_VERSION }: { trust: ClusterTrustState; wire?: number | undefined },
  ) {
    this.wire = wire
    this.#identity = identity
    this.#trust = trust
  }

  /** Undefined: this node has no links now. Its peers are then served as by a node of the first version. */
  get credential(): PeerCredential | undefined {
    const isLive = this.#credential !== undefined && this.#credential.expiresAtMs > Date.now()
    return isLive ? this.#credential : undefined
  }

  /** For a join. Before the first answer the tracker is taken for one that knows versions. */
  get joinFields(): Fields<JoinRequest> {
    return this.wire > WIRE_VERSION_FIRST && this.#doesTrackerKnow !== false ? { wire: this.wire } : {}
  }

  get heartbeatFields(): Fields<HeartbeatRequest> {
    if (this.wire === WIRE_VERSION_FIRST || this.#doesTrackerKnow !== true) return {}
    return { wire: this.wire, ...(this.#isRenewalDue() && { wantsLinkCertificate: true }) }
  }

  /** Takes the tracker's answer. */
  heard({ wire, linkCertificate }: Pick<JoinResponse | HeartbeatResponse, 'wire' | 'linkCertificate'>): void {
    this.#doesTrackerKnow = wire !== undefined
    if (linkCertificate == null) return
    const { certificate, validForSeconds } = linkCertificate
    this.#credential = this.#identity.credential(this.#trust, certificate, validForSeconds)
    this.#renewAtMs = Date.now() + validForSeconds * 1000 * RENEW_AT_SHARE
  }

  /** The tracker refused a field: it was replaced by an older one. */
  refused(): void {
    this.#doesTrackerKnow = false
  }

  /** For the time after a restart. */
  record(): LinkRecord | null {
    const { credential } = this
    return credential === undefined
      ? null
      : { certificatePem: credential.certificatePem, expiresAtMs: credential.expiresAtMs }
  }

  /** Shows the certificate of before a restart until the tracker gives another. */
  restore({ certificatePem, expiresAtMs }: LinkRecord): void {
    const validForSeconds = (expiresAtMs - Date.now()) / 1000
    this.#credential = this.#identity.credential(this.#trust, certificatePem, validForSeconds)
  }

  #isRenewalDue(): boolean {
    if (this.wire < WIRE_VERSION_LINKS) return false
    if (this.credential === undefined || Date.now() >= this.#renewAtMs) return true
    return this.#trust.isOutdated(this.credential.certificatePem)
  }
}
