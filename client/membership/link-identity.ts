import type { HeartbeatRequest, HeartbeatResponse } from '../../core/tracker-api.ts'
import { WIRE_VERSION } from '../../core/wire-version.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import { type NodeIdentity, RENEW_AT_SHARE } from './node-identity.ts'
import type { LinkingRecord } from './node-memory.ts'

type Issued = HeartbeatResponse['linkCertificate']

/**
 * This node's certificate for links to other nodes, for the node's own key. It opens no blob. The tracker issues it at the
 * join, and with a heartbeat from two thirds of its life on; a tracker that knows no links issues none.
 */
export class LinkIdentity {
  /** Undefined until the tracker has issued one, and after its end. */
  #credential: PeerCredential | undefined
  readonly #identity: NodeIdentity
  readonly #trust: ClusterTrustState
  #renewAtMs = 0
  /** The newest wire version that the tracker knows; undefined for an older one, which refuses to hear of versions. */
  #trackerWire: number | undefined

  constructor(identity: NodeIdentity, trust: ClusterTrustState) {
    this.#identity = identity
    this.#trust = trust
  }

  get credential(): PeerCredential | undefined {
    const isLive = this.#credential !== undefined && this.#credential.expiresAtMs > Date.now()
    return isLive ? this.#credential : undefined
  }

  /** The fields of a heartbeat that concern links. */
  request(): Pick<HeartbeatRequest, 'wire' | 'wantsLinkCertificate'> {
    if (this.#trackerWire === undefined) return {}
    return { wire: WIRE_VERSION, wantsLinkCertificate: this.#isDue() }
  }

  /** What an answer of the tracker says about links. */
  take(wire: number | undefined, issued: Issued): void {
    this.#trackerWire = wire
    if (!issued) return
    const { certificate, validForSeconds } = issued
    this.#credential = this.#identity.credential(this.#trust, certificate, validForSeconds)
    this.#renewAtMs = Date.now() + validForSeconds * 1000 * RENEW_AT_SHARE
  }

  /** The tracker may have been replaced by an older one. */
  forgetVersion(): void {
    this.#trackerWire = undefined
  }

  /** For the time after a restart. */
  record(): LinkingRecord | null {
    const { credential } = this
    if (credential === undefined) return null
    return { certificatePem: credential.certificatePem, expiresAtMs: credential.expiresAtMs }
  }

  restore({ certificatePem, expiresAtMs }: LinkingRecord): void {
    const validForSeconds = (expiresAtMs - Date.now()) / 1000
    this.#credential = this.#identity.credential(this.#trust, certificatePem, validForSeconds)
  }

  #isDue(): boolean {
    const { credential } = this
    if (credential === undefined || Date.now() >= this.#renewAtMs) return true
    return this.#trust.isOutdated(credential.certificatePem)
  }
}
