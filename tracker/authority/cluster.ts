import type { ClusterId } from '../../core/metainfo.ts'
import type { ClusterTrust } from '../../core/tracker-api.ts'
import { type ClusterAuthority, NODE_CERTIFICATE_SECONDS } from './cluster-authority.ts'
import type { KeyRotation, SigningKey } from './signing-key.ts'

/** Decides when a new authority begins to issue, and a new key to sign. */
export interface RotationClock {
  nowMs(): number
  /**
   * From the making of a new authority to its first certificate, and of a new key to its first signature. By then every
   * node that is handed out as a peer had a heartbeat and knows it: a node that is silent for so long is not handed out.
   */
  settleMs: number
}

/** A running change of a cluster's authority. */
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
  /** Newest first. */
  signingKeys: SigningKey[]
}

/** A cluster with its secrets unsealed. */
export class Cluster {
  readonly cluster: ClusterId
  readonly name: string
  readonly #clock: RotationClock
  #newestFirst: readonly ClusterAuthority[]
  #keysNewestFirst: readonly SigningKey[]

  constructor(options: ClusterOptions, clock: RotationClock) {
    this.cluster = options.cluster
    this.name = options.name
    this.#newestFirst = options.authorities
    this.#keysNewestFirst = options.signingKeys
    this.#clock = clock
  }

  /** All are trusted; the first issues. */
  get authorities(): readonly ClusterAuthority[] {
    const { rotation } = this
    const isSettling = rotation !== undefined && this.#clock.nowMs() < rotation.issuesAtMs
    return isSettling ? this.#newestFirst.toReversed() : this.#newestFirst
  }

  /** Undefined if there is only one authority. */
  get rotation(): Rotation | undefined {
    const [newest, previous] = this.#newestFirst
    if (newest === undefined || previous === undefined) return undefined
    const issuesAtMs = newest.createdAtMs + this.#clock.settleMs
    return { previous, issuesAtMs, previousEndsAtMs: issuesAtMs + NODE_CERTIFICATE_SECONDS * 1000 }
  }

  get trust(): Pick<ClusterTrust, 'authorities' | 'batchKeys'> {
    return {
      authorities: this.authorities.map(({ certificatePem }) => certificatePem),
      batchKeys: this.signingKeys.map(({ batchKeyPublic }) => batchKeyPublic),
    }
  }

  /** All are trusted; the first signs. */
  get signingKeys(): readonly SigningKey[] {
    const { keyRotation } = this
    const live = this.#liveKeys
    const isSettling = keyRotation !== undefined && this.#clock.nowMs() < keyRotation.signsAtMs
    return isSettling ? live.toReversed() : live
  }

  /** The key that signs now. */
  get signingKey(): SigningKey {
    return this.signingKeys[0]!
  }

  /** Undefined if there is only one key. */
  get keyRotation(): KeyRotation | undefined {
    const [newest, previous] = this.#liveKeys
    if (newest === undefined || previous?.endsAtMs == null) return undefined
    const signsAtMs = newest.createdAtMs + this.#clock.settleMs
    const renewedAtMs = signsAtMs + this.#clock.settleMs
    return { previous, signsAtMs, renewedAtMs, previousEndsAtMs: previous.endsAtMs }
  }

  /** Ended keys: they no longer count, and must be erased. */
  get endedKeys(): readonly SigningKey[] {
    return this.#keysNewestFirst.filter((key) => !this.#isLive(key))
  }

  get #liveKeys(): readonly SigningKey[] {
    return this.#keysNewestFirst.filter((key) => this.#isLive(key))
  }

  #isLive({ endsAtMs }: SigningKey): boolean {
    return endsAtMs === null || this.#clock.nowMs() < endsAtMs
  }

  /** When a key made now begins to sign. */
  signsAtMs(nowMs: number): number {
    return nowMs + this.#clock.settleMs
  }

  /** Begins a rotation. */
  addSigningKey(key: SigningKey, { previousEndsAtMs }: { previousEndsAtMs: number }): void {
    const earlier = this.#keysNewestFirst.map((one) => ({
      ...one,
      endsAtMs: one.endsAtMs ?? previousEndsAtMs,
    }))
    this.#keysNewestFirst = [key, ...earlier]
  }

  dropSigningKey({ batchKeyPublic }: SigningKey): void {
    this.#keysNewestFirst = this.#keysNewestFirst.filter((one) => one.batchKeyPublic !== batchKeyPublic)
  }

  /** Begins a rotation. */
  addAuthority(authority: ClusterAuthority): void {
    this.#newestFirst = [authority, ...this.#newestFirst]
  }

  dropAuthority(authority: ClusterAuthority): void {
    this.#newestFirst = this.#newestFirst.filter((one) => one !== authority)
  }
}
