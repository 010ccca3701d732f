import { setTimeout } from 'node:timers/promises'
import { CERTIFICATE_BLOBS_MAX } from '../../core/certificate-claims.ts'
import type { Conditions } from '../../core/conditions.ts'
import type { Defects } from '../../core/defects.ts'
import type { Digest } from '../../core/digest.ts'
import { parseRegistryToken, RegistryTokenError } from '../../core/registry-token.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import { prepareProver, type TokenProver } from '../../core/token-proof/index.ts'
import type { Credential, GrantedSwarm, PullResponse } from '../../core/tracker-api.ts'
import type { BlobRequest, ImagePlan } from '../client.ts'
import { GrantLateError, TrackerRefusedError } from '../errors.ts'
import type { ClusterTrustState } from './cluster-trust.ts'
import { type AskedBlob, covering, type Grant, isSameCredential, unwanted } from './grant.ts'
import { makeKey, RENEW_AT_SHARE } from './node-identity.ts'
import type { TrackerClient } from './tracker-client.ts'

/** A grant with its private parts. */
interface Held {
  /** The key of its certificates. */
  privateKeyPem: string
  /** Which key signed its peer token; absent: it has none. */
  peerTokenKeyId: string | undefined
  timer: NodeJS.Timeout | undefined
}

export interface GrantsOptions {
  tracker: TrackerClient
  trust: ClusterTrustState
  defects: Defects
  tokenKeys: TokenKeys
  /** How long the blobs of one request to the tracker wait for its answer, all together. */
  patienceMs(): number
  conditions: Conditions
  listenPort: () => number
  /** Blobs that the image's manifest named beside the one asked for. */
  planned: (request: BlobRequest) => { digest: Digest; bytes: number }[]
  isInUse: (grant: Grant) => boolean
  onRenewed: (grant: Grant) => void
}

type PullOf = Omit<ImagePlan, 'blobs'>

/** A request to the tracker that is in flight. */
interface Asking {
  image: PullOf
  digests: ReadonlySet<Digest>
  sinceMs: number
  grant: Promise<Grant>
  /** Blobs that wait for it. A lease that arrives for none goes back. */
  waiting: number
  /** When they give up on a tracker that answers; set when the first begins to wait. */
  late: Promise<'late'> | undefined
}

/** A grant with a shorter remaining life is not used for new pulls; a new one is requested. */
const LIFE_MS_MIN = 60_000
/** How long a late pull is shown, if no pull at its registry is verified before. */
const SLOW_SHOWN_MS = 10 * 60_000
/** Requests ahead of need in flight, for the whole node … */
export const PLANS_IN_FLIGHT_MAX = 8
/** … and for one registry: a slow one leaves the others their share. */
export const PLANS_PER_REGISTRY_MAX = 4

/** The grants of this node. One request to the tracker for each image: blobs of one manifest share a grant. */
export class Grants {
  readonly #options: GrantsOptions
  readonly #granted = new Map<Grant, Held>()
  readonly #inFlight = new Set<Asking>()
  #plansInFlight: ImagePlan[] = []

  constructor(options: GrantsOptions) {
    this.#options = options
  }

  /**
   * A grant that covers the blob: one that is here or in flight, or a new one.
   * @throws TrackerUnavailableError, TrackerRefusedError, GrantLateError
   */
  async obtain(request: BlobRequest): Promise<{ grant: Grant; swarm: GrantedSwarm }> {
    const ready = this.find(request)
    if (ready) return ready
    const running = this.#asked(request)
    if (running) {
      try {
        return covering(await this.#inTime(running), request.digest)
      } catch (error) {
        // Another caller's refusal says nothing about this one.
        const isOwn = isSameCredential(running.image.credential, request.credential)
        if (isOwn || !(error instanceof TrackerRefusedError)) throw error
      }
    }
    const planned = this.#uncovered(request, this.#options.planned(request)).filter(
      ({ digest }) => digest !== request.digest,
    )
    const blobs = [{ digest: request.digest, bytes: request.bytes, isWanted: true }, ...planned.map(unwanted)]
    return covering(await this.#inTime(this.#begin(request, blobs)), request.digest)
  }

  /**
   * Asks for a grant ahead of need, so that the tracker verifies it while Docker reads the manifest. No blob is wanted
   * yet, so it takes no lease. Asks nothing when the blobs are covered, and while too much is in flight.
   */
  prepare(plan: ImagePlan): void {
    if (this.#options.tracker.watch.isOff) return
    const blobs = this.#uncovered(plan, plan.blobs)
    const ofRegistry = this.#plansInFlight.filter(({ registry }) => registry === plan.registry).length
    const isFull = this.#plansInFlight.length >= PLANS_IN_FLIGHT_MAX || ofRegistry >= PLANS_PER_REGISTRY_MAX
    if (blobs.length === 0 || isFull) return
    this.#plansInFlight.push(plan)
    const asking = this.#begin(plan, blobs.map(unwanted))
    // Its blobs hear of a failure when they ask.
    const ended = () => {
      this.#plansInFlight = this.#plansInFlight.filter((other) => other !== plan)
    }
    asking.grant.then(ended, ended)
  }

  /**
   * Another authority issues, or another key mints peer tokens: renews the grants that rest on the previous one, or
   * drops those that nothing needs.
   */
  renewOutdated(): void {
    for (const [grant, held] of this.#granted) {
      const isOutdated = this.#options.trust.isOutdated(grant.credential.certificatePem)
      if (!isOutdated && !this.#isTokenOutdated(grant, held)) continue
      if (!this.#options.isInUse(grant)) this.#forget(grant)
      // On failure the certificate is still valid: the next heartbeat tries again.
      else this.#renew(grant).catch(() => undefined)
    }
  }

  /** Nothing is asked for any more under grants of repositories that an operator blocked. */
  forgetBlocked(): void {
    const { blocks } = this.#options.trust
    for (const grant of this.#granted.keys()) if (blocks.hasRepository(grant)) this.#forget(grant)
  }

  close(): void {
    for (const grant of this.#granted.keys()) this.#forget(grant)
  }

  /** A grant that is here and covers the blob. */
  find(request: Omit<BlobRequest, 'bytes'>): { grant: Grant; swarm: GrantedSwarm } | undefined {
    for (const grant of this.#granted.keys()) {
      const swarm = grant.swarms.get(request.digest)
      const isFor = grant.registry === request.registry && grant.repository === request.repository
      if (isFor && swarm && grant.credential.expiresAtMs - Date.now() > LIFE_MS_MIN) return { grant, swarm }
    }
    return undefined
  }

  /** Whether a grant that is here, or in flight, covers the blob: the tracker asked the registry about it. */
  async covers(request: Omit<BlobRequest, 'bytes'>): Promise<boolean> {
    const grant = this.find(request)?.grant ?? (await this.#asked(request)?.grant.catch(() => undefined))
    return grant?.swarms.has(request.digest) ?? false
  }

  /** Blobs that no grant covers, here or in flight: of an image with more than one request holds, none is asked for twice. */
  #uncovered<Blob extends { digest: Digest }>(image: PullOf, blobs: readonly Blob[]): Blob[] {
    return blobs.filter((blob) => {
      const request = { ...image, ...blob }
      return this.find(request) === undefined && this.#asked(request) === undefined
    })
  }

  #asked({ registry, repository, digest }: Omit<BlobRequest, 'bytes' | 'credential'>): Asking | undefined {
    for (const asking of this.#inFlight) {
      const isFor = asking.image.registry === registry && asking.image.repository === repository
      if (isFor && asking.digests.has(digest)) return asking
    }
    return undefined
  }

  #begin(image: PullOf, blobs: AskedBlob[]): Asking {
    const asked = blobs.slice(0, CERTIFICATE_BLOBS_MAX)
    const asking: Asking = {
      image,
      digests: new Set(asked.map(({ digest }) => digest)),
      sinceMs: performance.now(),
      grant: this.#ask(image, asked).finally(() => this.#inFlight.delete(asking)),
      waiting: 0,
      late: undefined,
    }
    this.#inFlight.add(asking)
    const arrived = (grant: Grant) => {
      this.#options.conditions.clear('REGISTRY_SLOW', image.registry)
      if (asking.waiting === 0) this.#giveBack(grant)
    }
    asking.grant.then(arrived, () => undefined)
    return asking
  }

  /**
   * Waits for the grant, as long as all its blobs together may: the first finds out for all. The request goes on, and
   * later blobs use what comes of it.
   * @throws GrantLateError; and as the request
   */
  async #inTime(asking: Asking): Promise<Grant> {
    const { registry } = asking.image
    asking.late ??= this.#late(asking.sinceMs)
    asking.waiting += 1
    try {
      const grant = await Promise.race([asking.grant, asking.late])
      if (grant !== 'late') return grant
      const untilMs = Date.now() + SLOW_SHOWN_MS
      this.#options.conditions.raise('REGISTRY_SLOW', registry, {}, { untilMs })
      throw new GrantLateError(`the tracker has not verified the pull yet: it waits for ${registry}`)
    } finally {
      asking.waiting -= 1
    }
  }

  /** Blobs have waited for long enough, counted anew when a pause of the tracker ends. Silence is the watch's concern. */
  async #late(sinceMs: number): Promise<'late'> {
    const patience = () => setTimeout(this.#options.patienceMs(), undefined, { ref: false })
    const { watch } = this.#options.tracker
    await patience()
    if (watch.hasHeardSince(sinceMs)) return 'late'
    await watch.heardSince(sinceMs)
    await patience()
    return 'late'
  }

  /** Nobody waits for the grant any more: its leases go to others at once. The grant stays, for later blobs. */
  #giveBack(grant: Grant): void {
    for (const granted of grant.swarms.values()) this.returnLease(grant, granted)
  }

  /** The lease that came with the grant will not be followed. A failure costs its time. */
  returnLease({ pull }: Grant, granted: GrantedSwarm): void {
    const { lease, swarm, epoch } = granted
    granted.lease = null
    if (lease === null) return
    const returned = { pull, epoch, lease: lease.lease, isLeaseReleased: true, wantsLease: false }
    const nothing = { firstPiece: 0, hashes: '', isRangeIgnored: false, position: 0, batchesFrom: null }
    this.#options.tracker.hashes(swarm, { ...returned, ...nothing }).catch(() => undefined)
  }

  async #ask(image: PullOf, blobs: AskedBlob[]): Promise<Grant> {
    const { tracker, trust } = this.#options
    const key = makeKey()
    const answer = await tracker.pull({
      registry: image.registry,
      repository: image.repository,
      credential: image.credential,
      publicKey: key.spki.toString('base64url'),
      listenPort: this.#options.listenPort(),
      blobs,
    })
    // The trust includes the key of this very token, so it is updated before anything is proven.
    trust.update(answer.trust)
    const grant = this.#grantOf(image, answer, key.privateKeyPem)
    const { peerToken } = answer
    const peerTokenKeyId = peerToken === null ? undefined : parseRegistryToken(peerToken).keyId
    this.#granted.set(grant, { privateKeyPem: key.privateKeyPem, peerTokenKeyId, timer: undefined })
    this.#renewLater(grant, answer.validForSeconds)
    return grant
  }

  #grantOf(request: PullOf, answer: PullResponse, privateKeyPem: string): Grant {
    return {
      pull: answer.pull,
      grantedAtMs: Date.now(),
      registry: request.registry,
      repository: request.repository,
      swarms: new Map(answer.swarms.map((swarm) => [swarm.digest, swarm])),
      prover: this.#proverOf(request.registry, request.credential, answer.peerToken),
      credential: this.#options.trust.credential(answer.certificate, privateKeyPem, answer.validForSeconds),
    }
  }

  #proverOf(
    registry: RegistryHost,
    credential: Credential,
    peerToken: string | null,
  ): TokenProver | undefined {
    if (peerToken !== null) return this.#proverWith(registry, peerToken)
    if (credential.scheme !== 'bearer') return undefined
    try {
      return this.#proverWith(registry, credential.token)
    } catch (error) {
      // An older tracker took the registry for open, and its tokens need no form.
      if (error instanceof RegistryTokenError) return undefined
      throw error
    }
  }

  #proverWith(registry: RegistryHost, jwt: string): TokenProver | undefined {
    const key = this.#options.tokenKeys.keyFor(registry, parseRegistryToken(jwt))
    return key && prepareProver(jwt, key)
  }

  /** Renewal keeps key, grant time and blobs, and continues only while a download needs it. */
  #renewLater(grant: Grant, validForSeconds: number): void {
    const held = this.#granted.get(grant)
    if (held === undefined) return
    const renew = () => {
      if (!this.#options.isInUse(grant)) return this.#forget(grant)
      // The certificate has a third of its life left; a new request for the blob gets a new grant.
      this.#renew(grant).catch(() => this.#forget(grant))
    }
    clearTimeout(held.timer)
    const { defects } = this.#options
    const boundary = defects.boundary('membership', () => this.#forget(grant))
    held.timer = globalThis.setTimeout(boundary.callback(renew), validForSeconds * 1000 * RENEW_AT_SHARE)
    held.timer.unref()
  }

  /** @throws TrackerUnavailableError, TrackerRefusedError */
  async #renew(grant: Grant): Promise<void> {
    const { tracker, trust } = this.#options
    const before = this.#granted.get(grant)
    if (before === undefined) return
    // Only when needed: an older tracker refuses unknown fields.
    const request = this.#isTokenOutdated(grant, before) ? { wantsPeerToken: true } : {}
    const answer = await tracker.renew(grant.pull, request)
    const held = this.#granted.get(grant)
    if (held === undefined) return
    trust.update(answer.trust)
    if (answer.peerToken !== null) {
      grant.prover = this.#proverWith(grant.registry, answer.peerToken)
      held.peerTokenKeyId = parseRegistryToken(answer.peerToken).keyId
    }
    grant.credential = trust.credential(answer.certificate, held.privateKeyPem, answer.validForSeconds)
    this.#options.onRenewed(grant)
    this.#renewLater(grant, answer.validForSeconds)
  }

  #isTokenOutdated({ registry }: Grant, { peerTokenKeyId }: Held): boolean {
    return peerTokenKeyId !== undefined && this.#options.trust.isPeerTokenOutdated(registry, peerTokenKeyId)
  }

  #forget(grant: Grant): void {
    clearTimeout(this.#granted.get(grant)?.timer)
    this.#granted.delete(grant)
  }
}
