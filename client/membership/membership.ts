import type { Conditions } from '../../core/conditions.ts'
import { isDefect } from '../../core/defects.ts'
import { reasonOf, ShoalError } from '../../core/errors.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { HeartbeatResponse } from '../../core/tracker-api.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import type { PeerCredential } from './cluster-trust.ts'
import { Heartbeat, type HeartbeatHost } from './heartbeat.ts'
import { type JoinedCluster, trackerUrlsOf } from './joined-cluster.ts'
import { LinkIdentity } from './link-identity.ts'
import {
  isCertificateRefused,
  isPassing,
  type NodeIdentity,
  NotJoinedError,
  refusedJoin,
} from './node-identity.ts'
import type { ServingRecord } from './node-memory.ts'

/** How long the start of a member waits for the tracker; it takes a tenth of that. */
const START_PATIENCE_MS = 2_000
/** Pause before the next join while the tracker is down or refuses; doubled each time. */
const JOIN_RETRY_MS = 5_000
/** How often a node that cannot join by itself looks whether `shoal join` was run. */
const JOINED_LOOK_MS = 2_000
/** Longest pause between joins. A random part is subtracted, so that refused nodes do not return together. */
const JOIN_RETRY_MS_MAX = 60_000

export interface MembershipHost extends Omit<HeartbeatHost, 'onFailed' | 'links'> {
  /** The newest wire version that this node speaks. Default: that of this release. */
  readonly wire?: number | undefined
  /** Needed for the first start only. */
  readonly joinToken: string | undefined
  readonly conditions: Conditions
  /** What `shoal join` found; undefined before, and where the configuration names a tracker. */
  joinedCluster(): JoinedCluster | undefined
  /** The tracker took this node in, for the first time since the start. */
  onJoined(): void
}

/**
 * The node's standing in its cluster: it joins, renews its certificate, and sends heartbeats from the first join on.
 * Invariant: until it is closed, either a join is in flight or the next one is scheduled.
 */
export class Membership {
  /** What this node shows on links. */
  readonly links: LinkIdentity
  readonly #identity: NodeIdentity
  readonly #host: MembershipHost
  readonly #heartbeat: Heartbeat
  #joinTimer: NodeJS.Timeout | undefined
  #lookTimer: NodeJS.Timeout | undefined
  #isJoiningAgain = false
  #joinFailures = 0
  #isClosed = false
  #isBeating = false

  constructor(identity: NodeIdentity, host: MembershipHost) {
    this.#identity = identity
    this.#host = host
    this.links = new LinkIdentity(identity, host)
    this.#heartbeat = new Heartbeat({
      tracker: host.tracker,
      trust: host.trust,
      settings: host.settings,
      links: this.links,
      log: host.log,
      defects: host.defects,
      listenPort: host.listenPort,
      location: host.location,
      holds: host.holds,
      wantsPeers: host.wantsPeers,
      takeBadPeers: host.takeBadPeers,
      onAnswer: (answer) => this.#onAnswer(answer),
      onFailed: (error) => {
        if (isCertificateRefused(error)) this.#joinAgain()
      },
    })
  }

  /** Undefined until the node has joined for the first time. */
  get cluster(): ClusterId | undefined {
    return this.#identity.cluster
  }

  get node(): NodeId {
    return this.#identity.node
  }

  /** The credential that this node presents to diallers; undefined until the first heartbeat was answered. */
  get serving(): PeerCredential | undefined {
    return this.#heartbeat.serving
  }

  /**
   * Joins or renews. When the tracker is down, tries again later; without certificate and join token, waits for `shoal join`.
   * @throws JoinError when the tracker refuses the node
   */
  async start(): Promise<void> {
    let isLate = false
    if (this.#identity.wasCopied) this.#host.conditions.raise('IDENTITY_COPIED')
    const joining = this.#join().catch((error: unknown) => {
      if (!isPassing(error) && !(error instanceof NotJoinedError) && !isLate)
        throw error instanceof TrackerRefusedError ? refusedJoin(error) : error
      this.#failed(error)
      this.#joinLater(this.#nextRetryMs())
    })
    if (this.cluster === undefined) return joining
    // A member serves with what it remembers: a silent tracker must not hold up its start.
    if (await isSettledWithin(joining, START_PATIENCE_MS)) return joining
    isLate = true
  }

  /** For the time after a restart. */
  servingRecord(): ServingRecord | null {
    return this.#heartbeat.servingRecord()
  }

  /** @param record as it was before a restart */
  restoreServing(record: ServingRecord): void {
    this.#heartbeat.restoreServing(record)
  }

  /** The stored blobs have changed: tells the tracker soon. */
  inventoryChanged(): void {
    this.#heartbeat.soon()
  }

  /** Resolves when the tracker has said what the cluster trusts now, or does not answer. */
  freshTrust(): Promise<void> {
    return this.#heartbeat.freshTrust()
  }

  /** Somebody waits for a sign of life from the tracker. Before the first join there is none to expect. */
  probeTracker(): Promise<void> | undefined {
    const canBeat = this.#host.trust.cluster !== undefined && !this.#isClosed
    return canBeat ? this.#heartbeat.probe() : undefined
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#joinTimer)
    clearInterval(this.#lookTimer)
    this.#heartbeat.close()
  }

  #onAnswer(answer: HeartbeatResponse): void {
    const { certificate } = this.#identity
    if (certificate !== undefined && this.#host.trust.isOutdated(certificate)) this.#joinAgain()
    if (answer.listing !== undefined) this.#showListing(answer.listing)
    if (answer.isRestored === true) this.#host.conditions.raise('TRACKER_RESTORED')
    else this.#host.conditions.clear('TRACKER_RESTORED')
    this.#host.onAnswer(answer)
  }

  #showListing({ isReached, ...at }: NonNullable<HeartbeatResponse['listing']>): void {
    if (isReached) this.#host.conditions.clear('PORT_UNREACHED')
    else this.#host.conditions.raise('PORT_UNREACHED', '', at)
  }

  /** Joins or renews. The first success starts the heartbeat. */
  async #join(): Promise<void> {
    const { trust, tracker, joinToken, log, listenPort } = this.#host
    this.#findTracker()
    const { renewInMs, registries } = await this.#identity
      .join(tracker, joinToken, this.links)
      .catch((error: unknown) => this.#unrenewed(error))
    this.#host.settings.update(registries)
    this.#isJoiningAgain = false
    this.#joinFailures = 0
    clearInterval(this.#lookTimer)
    this.#lookTimer = undefined
    this.#joinLater(renewInMs)
    for (const code of ['NOT_JOINED', 'IDENTITY_COPIED'] as const) this.#host.conditions.clear(code)
    // A node that had to join again has missed changes of the cluster's trust.
    if (this.#isBeating && trust.cluster === this.#identity.cluster) return this.#heartbeat.soon()
    await this.#beat()
    const { node, cluster } = this.#identity
    log.info({ node, cluster, port: listenPort() }, 'the node joined its cluster')
    this.#host.onJoined()
  }

  #beat(): Promise<void> {
    this.#host.trust.cluster = this.#identity.cluster
    this.#isBeating = true
    return this.#heartbeat.start()
  }

  /** A tracker that was restored renews nothing yet, and wants to know what this member carries. */
  #unrenewed(error: unknown): never {
    const isRestored = error instanceof TrackerUnavailableError && error.trackerCode === 'TRACKER_RESTORED'
    if (isRestored && this.cluster !== undefined && !this.#isBeating) void this.#beat()
    throw error
  }

  /** The tracker of `shoal join`, where the configuration names none. */
  #findTracker(): void {
    const { tracker } = this.#host
    const joined = this.#host.joinedCluster()
    if (joined !== undefined && !tracker.isAimedAt(trackerUrlsOf(joined))) {
      tracker.aim(trackerUrlsOf(joined), joined.authorityPem)
    }
    this.#identity.reload()
  }

  /** Joins as soon as `shoal join` has left a certificate. */
  #lookForJoin(): void {
    this.#lookTimer ??= setInterval(() => {
      if (this.#identity.reload()) this.#joinLater(0)
    }, JOINED_LOOK_MS).unref()
  }

  /** A certificate that only could not be renewed yet still makes this node a member. */
  #failed(error: unknown): void {
    if (error instanceof NotJoinedError) this.#lookForJoin()
    if (this.#host.trust.cluster !== undefined && isPassing(error)) {
      this.#host.log.warn({ err: error }, 'the node certificate could not be renewed')
      return
    }
    const code = error instanceof ShoalError ? error.code : 'UNEXPECTED'
    const hint = error instanceof ShoalError && error.hint !== undefined ? { hint: error.hint } : {}
    this.#host.conditions.raise('NOT_JOINED', '', { reason: reasonOf(error), error: code, ...hint })
  }

  /** The node certificate is no longer accepted, or soon will not be: renews before its usual time. */
  #joinAgain(): void {
    if (this.#isJoiningAgain) return
    this.#isJoiningAgain = true
    this.#joinLater(0)
  }

  #nextRetryMs(): number {
    const delayMs = Math.min(JOIN_RETRY_MS_MAX, JOIN_RETRY_MS * 2 ** this.#joinFailures++)
    return delayMs * (0.5 + Math.random() / 2)
  }

  #joinLater(delayMs: number): void {
    if (this.#isClosed) return
    clearTimeout(this.#joinTimer)
    this.#joinTimer = setTimeout(() => {
      this.#join().catch((error: unknown) => {
        if (isDefect(error)) this.#host.defects.note('membership', error)
        this.#failed(error)
        this.#joinLater(this.#nextRetryMs())
      })
    }, delayMs)
    this.#joinTimer.unref()
  }
}
