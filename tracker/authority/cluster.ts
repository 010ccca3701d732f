import type { KeyObject } from 'node:crypto'
import type { ClusterId } from '../../core/metainfo.ts'
import type { ClusterTrust } from '../../core/tracker-api.ts'
import { type ClusterAuthority, NODE_CERTIFICATE_SECONDS } from './cluster-authority.ts'

/** When a new authority begins to issue. */
export interface RotationClock {
  nowMs(): number
  /**
   * From a new authority's birth to its first certificate. Of the nodes that are handed out as peers each has then had
   * a heartbeat, and knows it: whoever is silent for as long is handed out no more.
   */
  settleMs: number
}

/** A change of a cluster's authority that is under way. */
export interface Rotation {
  previous: ClusterAuthority
  /** From then on the new authority issues, and the previous one is only trusted. */
  issuesAtMs: number
  /** By then every certificate of the previous authority has ended. */
  previousEndsAtMs: number
}

export interface ClusterOptions {
  cluster: ClusterId
  name: string
  /** Newest first; two during a rotation. */
  authorities: ClusterAuthority[]
  batchKeys: KeyObject[]
  /** The public halves, raw, base64url. */
  batchKeysPublic: string[]
  peerTokenKeys: KeyObject[]
  joinToken: { hash: Buffer; validUntilMs: number | null }
}

/** A cluster with its secrets unsealed. The first batch key signs; all are trusted. */
export class Cluster {
  readonly cluster: ClusterId
  readonly name: string
  readonly batchKeys: readonly KeyObject[]
  /** Sign peer tokens; each is derived from a batch key, so they change together. */
  readonly peerTokenKeys: readonly KeyObject[]
  joinToken: { hash: Buffer; validUntilMs: number | null }
  readonly #batchKeysPublic: string[]
  readonly #clock: RotationClock
  #newestFirst: readonly ClusterAuthority[]

  constructor(options: ClusterOptions, clock: RotationClock) {
    this.cluster = options.cluster
    this.name = options.name
    this.batchKeys = options.batchKeys
    this.peerTokenKeys = options.peerTokenKeys
    this.joinToken = options.joinToken
    this.#batchKeysPublic = options.batchKeysPublic
    this.#newestFirst = options.authorities
    this.#clock = clock
  }

  /** All are trusted; the first issues. */
  get authorities(): readonly ClusterAuthority[] {
    const { rotation } = this
    const isSettling = rotation !== undefined && this.#clock.nowMs() < rotation.issuesAtMs
    return isSettling ? this.#newestFirst.toReversed() : this.#newestFirst
  }

  /** Undefined while there is one authority. */
  get rotation(): Rotation | undefined {
    const [newest, previous] = this.#newestFirst
    if (newest === undefined || previous === undefined) return undefined
    const issuesAtMs = newest.createdAtMs + this.#clock.settleMs
    return { previous, issuesAtMs, previousEndsAtMs: issuesAtMs + NODE_CERTIFICATE_SECONDS * 1000 }
  }

  get trust(): Pick<ClusterTrust, 'authorities' | 'batchKeys'> {
    return {
      authorities: this.authorities.map(({ certificatePem }) => certificatePem),
      batchKeys: this.#batchKeysPublic,
    }
  }

  /** Begins a rotation. */
  addAuthority(authority: ClusterAuthority): void {
    this.#newestFirst = [authority, ...this.#newestFirst]
  }

  dropAuthority(authority: ClusterAuthority): void {
    this.#newestFirst = this.#newestFirst.filter((one) => one !== authority)
  }
}
