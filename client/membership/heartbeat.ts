import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Defects, isDefect } from '../../core/defects.ts'
import type { NodeLocation } from '../../core/location.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'
import {
  type HeartbeatRequest,
  type HeartbeatResponse,
  NODE_SWARMS_MAX,
  WANTED_SWARMS_MAX,
} from '../../core/tracker-api.ts'
import type { ClusterTrustState, PeerCredential } from './cluster-trust.ts'
import type { LinkIdentity } from './link-identity.ts'
import { isFieldRefused, makeKey, RENEW_AT_SHARE } from './node-identity.ts'
import type { ServingRecord } from './node-memory.ts'
import type { RegistrySettings } from './registry-settings.ts'
import type { TrackerClient } from './tracker-client.ts'

export interface HeartbeatHost {
  readonly tracker: TrackerClient
  readonly trust: ClusterTrustState
  readonly settings: RegistrySettings
  readonly links: LinkIdentity
  readonly log: Logger
  readonly defects: Defects
  listenPort(): number
  /** Where this machine stands. */
  location(): NodeLocation
  /** Swarms that this node serves, whole or in part. */
  holds(): { swarm: SwarmId; isSeed: boolean }[]
  wantsPeers(): SwarmId[]
  /** Takes the peers to report, each once. */
  takeBadPeers(): { swarm: SwarmId; node: NodeId }[]
  onAnswer(answer: HeartbeatResponse): void
  /** The tracker did not answer, or refused. */
  onFailed(error: unknown): void
}

/** Pause while the tracker does not answer; half of it by chance, so that not all return at the same moment. */
const RETRY_MS = 2_000
/** Heartbeats that are sent because a peer's token key is unknown, at most one in this time. */
const FRESH_TRUST_REST_MS = 1_000
/** Pause before changes are told again: layers that become complete within it are told together. */
const SOON_REST_MS = 100
/** Pause after the first heartbeat without an answer: the second tells whether the tracker is off. */
const RETRY_SOON_MS = 300

/**
 * Tells the tracker which blobs this node holds, and receives peers, revocations, trust, and the serve certificate.
 * Sends only changes of the inventory, until the tracker asks for all of it.
 */
export class Heartbeat {
  /** The credential that this node presents to diallers. */
  serving: PeerCredential | undefined
  #servingKeyPem = ''
  readonly #host: HeartbeatHost
  readonly #told = new Map<SwarmId, boolean>()
  #isFullWanted = true
  #renewServingAtMs = 0
  #timer: NodeJS.Timeout | undefined
  #dueAtMs = Number.POSITIVE_INFINITY
  #sentAtMs = Number.NEGATIVE_INFINITY
  #isClosed = false
  #running: Promise<void> | undefined
  #isAgainWanted = false
  #freshening: Promise<void> = Promise.resolve()
  #nextFreshening: Promise<void> | undefined
  #doesTrackerKnowLocations = false
  /** For a tracker that was restored from a backup and asked for them. */
  #copiesWanted: string[] | undefined

  constructor(host: HeartbeatHost) {
    this.#host = host
  }

  /** For the time after a restart. */
  servingRecord(): ServingRecord | null {
    if (this.serving === undefined) return null
    const { certificatePem, expiresAtMs } = this.serving
    return { certificatePem, privateKeyPem: this.#servingKeyPem, expiresAtMs }
  }

  /** Presents the certificate of before a restart until the tracker gives another. */
  restoreServing({ certificatePem, privateKeyPem, expiresAtMs }: ServingRecord): void {
    const validForSeconds = (expiresAtMs - Date.now()) / 1000
    this.serving = this.#host.trust.credential(certificatePem, privateKeyPem, validForSeconds)
    this.#servingKeyPem = privateKeyPem
  }

  /** Sends a heartbeat now, and then as often as the tracker says. */
  async start(): Promise<void> {
    await this.#beat()
  }

  /** Something changed that others should know soon. */
  soon(): void {
    if (this.#running) this.#isAgainWanted = true
    else this.#beatIn(this.#soonMs())
  }

  /** Resolves after the exchange of a heartbeat that is sent from now on, whether it was answered or not. */
  freshTrust(): Promise<void> {
    this.#nextFreshening ??= this.#freshening.then(() => {
      this.#nextFreshening = undefined
      const exchange = this.#freshExchange()
      this.#freshening = exchange.then(() => wait(FRESH_TRUST_REST_MS, undefined, { ref: false }))
      return exchange
    })
    return this.#nextFreshening
  }

  async #freshExchange(): Promise<void> {
    // The answer under way may be older than the question.
    await this.#running
    if (!this.#isClosed) await this.#beat()
  }

  /** Somebody waits for a sign of life. A heartbeat in flight will do. @returns its end */
  probe(): Promise<void> | undefined {
    if (!this.#running) this.#run(() => this.#beat())
    return this.#running
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #beat(): Promise<void> {
    this.#running ??= this.#exchange().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #exchange(): Promise<void> {
    clearTimeout(this.#timer)
    this.#dueAtMs = Number.POSITIVE_INFINITY
    this.#sentAtMs = performance.now()
    let nextMs: number
    try {
      nextMs = await this.#send()
    } catch (error) {
      nextMs =
        this.#host.tracker.watch.standing === 'suspect' ? RETRY_SOON_MS : RETRY_MS * (0.5 + Math.random())
      // The node continues its heartbeats after any failure.
      this.#run(() => this.#failed(error))
    }
    if (this.#isClosed) return
    this.#beatIn(this.#isAgainWanted ? this.#soonMs() : nextMs)
    this.#isAgainWanted = false
  }

  #soonMs(): number {
    return Math.max(0, this.#sentAtMs + SOON_REST_MS - performance.now())
  }

  /** Unless one is due before. */
  #beatIn(delayMs: number): void {
    const dueAtMs = performance.now() + delayMs
    if (this.#isClosed || dueAtMs >= this.#dueAtMs) return
    clearTimeout(this.#timer)
    this.#dueAtMs = dueAtMs
    this.#timer = setTimeout(() => this.#run(() => this.#beat()), delayMs)
    this.#timer.unref()
  }

  #failed(error: unknown): void {
    if (isDefect(error)) this.#host.defects.note('membership', error)
    this.#host.log.debug({ err: error }, 'no heartbeat')
    // The tracker was replaced by an older one, which does not know the versions.
    if (isFieldRefused(error)) {
      this.#host.settings.forgetVersion()
      this.#doesTrackerKnowLocations = false
      this.#host.links.refused()
    }
    this.#host.onFailed(error)
  }

  /** An unexpected error costs one heartbeat. */
  #run(work: () => unknown): void {
    this.#host.defects.boundary('membership', () => undefined).run(work)
  }

  async #send(): Promise<number> {
    const key = this.#isServingDue() ? makeKey() : undefined
    const holds = new Map(
      this.#host
        .holds()
        .slice(0, NODE_SWARMS_MAX)
        .map(({ swarm, isSeed }) => [swarm, isSeed]),
    )
    const request = this.#request(holds, key?.spki)
    this.#copiesWanted = undefined
    const answer = await this.#host.tracker.heartbeat(request)
    this.#told.clear()
    for (const [swarm, isSeed] of holds) this.#told.set(swarm, isSeed)
    this.#isFullWanted = answer.wantsFullInventory
    const isLocationUntold = request.location === undefined && this.#host.location().zone !== ''
    this.#doesTrackerKnowLocations = answer.knowsLocations === true
    this.#takeTrust(answer)
    this.#host.settings.update(answer.registries)
    this.#host.links.heard(answer)
    if (key && answer.serveCertificate) {
      const { certificate, validForSeconds } = answer.serveCertificate
      this.serving = this.#host.trust.credential(certificate, key.privateKeyPem, validForSeconds)
      this.#servingKeyPem = key.privateKeyPem
      this.#renewServingAtMs = Date.now() + validForSeconds * 1000 * RENEW_AT_SHARE
    }
    this.#host.onAnswer(answer)
    const isMoreToTell = isLocationUntold && this.#doesTrackerKnowLocations
    return answer.wantsFullInventory || isMoreToTell ? 0 : answer.nextInMs
  }

  #takeTrust(answer: HeartbeatResponse): void {
    const { trust } = this.#host
    // What is told is what this node knew before the answer, whose list may be the backup's.
    if (answer.wantsCopiesFrom !== undefined) this.#copiesWanted = trust.carried.after(answer.wantsCopiesFrom)
    if (answer.keyChange !== undefined) trust.carried.takeKeyChange(answer.keyChange)
    // What the cluster trusts may have changed after the backup: this node keeps what it knows.
    if (answer.isRestored === true) return
    trust.update(answer.trust)
    trust.revoke(answer.revocationsVersion, answer.revocations, answer.isFullRevocations)
  }

  #isServingDue(): boolean {
    if (this.serving === undefined || Date.now() >= this.#renewServingAtMs) return true
    return this.#host.trust.isOutdated(this.serving.certificatePem)
  }

  #request(holds: Map<SwarmId, boolean>, spki: Buffer | undefined): HeartbeatRequest {
    const { version } = this.#host.settings
    const isNews = ([swarm, isSeed]: [SwarmId, boolean]) =>
      this.#isFullWanted || this.#told.get(swarm) !== isSeed
    return {
      listenPort: this.#host.listenPort(),
      isFullInventory: this.#isFullWanted,
      holds: [...holds].filter(isNews).map(([swarm, isSeed]) => ({ swarm, isSeed })),
      dropped: this.#isFullWanted ? [] : [...this.#told.keys()].filter((swarm) => !holds.has(swarm)),
      wantsPeers: this.#host.wantsPeers().slice(0, WANTED_SWARMS_MAX),
      ...(version === undefined ? {} : { registriesVersion: version }),
      ...this.#host.links.heartbeatFields,
      badPeers: this.#host.takeBadPeers(),
      servePublicKey: spki?.toString('base64url') ?? null,
      revocationsVersion: this.#host.trust.revocationsVersion,
      ...(this.#copiesWanted && { copies: this.#copiesWanted }),
      ...(this.#doesTrackerKnowLocations && { location: this.#host.location() }),
    }
  }
}
