import { setTimeout } from 'node:timers/promises'
import { isDefect } from '../../core/defects.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { HashesRequest, HashesResponse, Lease } from '../../core/tracker-api.ts'
import { OriginRefusedError, RangeIgnoredError, TrackerRefusedError } from '../errors.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import { type MissingRun, PEERS_BACK_PIECES } from './fallback-run.ts'
import { LeaseRequests, type RequestedRun } from './lease-requests.ts'
import { OpenEndedRead } from './open-ended-read.ts'
import type { OriginHost } from './origin-host.ts'
import { OriginPlan, type OriginView } from './origin-plan.ts'
import { PendingHashes } from './pending-hashes.ts'
import { isFinal, RunFetch } from './run-fetch.ts'

/** Leases that a node with a whole blob asks for: one, or what others leave of it. */
const WHOLE_LEASES_MAX = 8
/** Pause before it asks again, while others hold the leases. */
const WHOLE_PAUSE_MS = 500

/** RFC 6585 §4. The tracker wants the call, only later. */
const TOO_MANY_REQUESTS = 429

interface Run {
  lease: string | null
  /** Pieces that came from peers meanwhile, less its own. */
  outdoneBy: number
  requests: LeaseRequests
  abort: AbortController
}

/** The tracker's answer: 'refused' when it refused the call, undefined when it did not answer. */
type Told = HashesResponse | 'refused' | undefined

type Call = Pick<HashesRequest, 'lease' | 'isLeaseReleased' | 'wantsLease'> & {
  firstPiece?: number
  hashes?: string
}

/**
 * Carries out the plan (origin-plan.ts): fetches leased pieces from the registry and, when the swarm gives nothing in
 * time, the pieces that the reader waits for. Publishes the hashes of leased pieces. Invariant: at most RUNS_MAX runs, of
 * two requests each, and one call to the tracker at a time; no two requests are for one piece.
 */
export class Origin {
  /** Bytes of pieces that came from the registry. */
  bytes = 0
  readonly #host: OriginHost
  readonly plan: OriginPlan
  readonly #runs = new Set<Run>()
  readonly #openEnded: OpenEndedRead
  #asking: Promise<Told> | undefined
  #publishing: Promise<boolean> | undefined
  /** A lease that arrived before its reader. */
  #offered: Lease | undefined
  readonly #pendingHashes = new PendingHashes()
  /** The blob is here whole: its leases are for publishing, not for fetching. */
  #isWhole = false
  /** This tracker's leases have an end that may shrink, so it knows the other fields of their release as well. */
  #isTrackerCurrent = false

  constructor(host: OriginHost) {
    this.#host = host
    this.#openEnded = new OpenEndedRead(host.access, host.layout.pieceCount)
    this.plan = new OriginPlan(this.#view(), Date.now())
  }

  #view(): OriginView {
    const host = this.#host
    return {
      layout: host.layout,
      have: host.have,
      position: () => host.position(),
      place: () => host.place(),
      isOutOfReach: (piece) => host.isOutOfReach(piece),
      peersIdleMs: () => host.peersIdleMs(),
      isNeeded: (piece) => host.isNeeded(piece),
      peersReach: () => host.peersReach(),
      isTrackerOff: () => host.isTrackerOff(),
      runsActive: () => this.#runs.size,
      hasUnrequested: () => [...this.#runs].some(({ requests }) => requests.hasMore),
      isReadingOn: () => this.#openEnded.isOpen,
      isAsking: () => this.#asking !== undefined,
    }
  }

  /** A lease that came with a grant, and so begins at the start of the blob. It is followed once the grant's reader is here. */
  offer(lease: Lease): void {
    if (!this.plan.isActive) this.#offered = lease
    else if (this.#isUseful(lease) && this.plan.mayFollowLease(Date.now()))
      this.#host.boundary.run(() => this.#follow(lease))
    else this.#release(lease)
  }

  /** The tracker said with the grant that peers have the blob. */
  heldByPeers(): void {
    this.plan.heldByPeers(Date.now())
  }

  start(): void {
    const lease = this.#offered
    this.#offered = undefined
    if (this.#host.access.areRangesIgnored) this.plan.rangeIgnored(Date.now())
    this.plan.start(Date.now())
    if (lease === undefined) return
    // Granted as if the registry served ranges: the tracker must first know that one node reads all.
    const isToFollow = !this.plan.isRangeIgnored && this.#isUseful(lease)
    if (isToFollow) this.#host.boundary.run(() => this.#follow(lease))
    else this.#release(lease)
  }

  /** A reader needs some of its pieces. */
  #isUseful({ firstPiece, pieces, endPiece = firstPiece + pieces }: Lease): boolean {
    return new LeaseRequests(this.#host, { first: firstPiece, end: endPiece }).hasMore
  }

  /** The last reader left: stops fetching, publishes fetched pieces, and releases the rest of the lease at once. */
  stop(): void {
    this.plan.stop()
    for (const run of this.#runs) run.abort.abort()
    this.#openEnded.end()
  }

  /** No fetch is running and nothing is left to publish. */
  get isDone(): boolean {
    return this.#runs.size === 0 && this.#pendingHashes.size === 0
  }

  /** A piece was stored. */
  moved(from: 'registry' | 'peer'): void {
    this.plan.pieceArrived(from, Date.now())
    for (const run of this.#runs) {
      if (run.lease !== null) continue
      run.outdoneBy += from === 'peer' ? 1 : -1
      if (run.outdoneBy >= PEERS_BACK_PIECES && !this.plan.isAlone) run.requests.giveUpRest()
    }
  }

  /** Call a few times a second. */
  tick(): void {
    const now = Date.now()
    if (this.#pendingHashes.size > 0 && this.plan.mayCall(now)) this.#host.boundary.run(() => this.publish())
    if (!this.plan.isActive || this.#host.have.isFull) return
    if (this.plan.isBroken(now)) this.#host.starved()
    const step = this.plan.next(now)
    if (step?.do === 'fetch') this.#host.boundary.run(() => this.#fetchFallback(step))
    else if (step?.do === 'ask') this.#host.boundary.run(() => this.#askForLease())
    // Others hold the leases now. When those expire, this node's credential will have expired as well.
    const first = this.#runs.size === 0 && this.#openEnded.isDue ? this.#host.firstUnknownHash() : undefined
    if (first !== undefined) this.#openEnded.openInTime(first)
  }

  async #follow({ lease, firstPiece, pieces, endPiece }: Lease): Promise<void> {
    this.#isTrackerCurrent = endPiece !== undefined
    const knownTo = endPiece === undefined ? undefined : firstPiece + pieces
    const end = endPiece ?? firstPiece + pieces
    const isWhole = await this.#fetch(lease, { first: firstPiece, end, knownTo })
    // The last publication of a run asks for the next lease. With nothing to publish, this call does.
    await this.publish()
    const wantsLease = this.plan.mayAsk(Date.now())
    if (!isWhole) await this.#tell({ lease, isLeaseReleased: true, wantsLease })
    else if (!this.#asking && wantsLease) await this.#askForLease()
  }

  #askForLease(): Promise<Told> {
    return this.#tell({ lease: null, isLeaseReleased: false, wantsLease: true })
  }

  #release({ lease }: Lease, { isUseful = true } = {}): void {
    const wantsLease = isUseful && this.plan.mayAsk(Date.now())
    this.#host.boundary.run(() => this.#tell({ lease, isLeaseReleased: true, wantsLease }))
  }

  async #fetchFallback({ first, end }: MissingRun): Promise<void> {
    this.#host.log.info({ first, end }, 'the swarm delivers nothing; fetching from the registry')
    await this.#fetch(null, { first, end })
  }

  /**
   * Fetches the missing pieces of the run, in order.
   * @returns false when it was stopped or broke off
   */
  async #fetch(lease: string | null, wanted: RequestedRun): Promise<boolean> {
    const requests = new LeaseRequests(this.#host, wanted)
    const run: Run = { lease, outdoneBy: 0, requests, abort: new AbortController() }
    this.#runs.add(run)
    try {
      await new RunFetch({
        host: this.#host,
        requests,
        openEnded: this.#openEnded,
        signal: run.abort.signal,
        isRangeIgnored: () => this.plan.isRangeIgnored,
        published: () => this.publish(),
        store: (piece, buffer, length) => this.#store(run, piece, buffer, length),
      }).fetch()
      return !run.abort.signal.aborted && requests.isRequested
    } catch (error) {
      if (run.abort.signal.aborted) return false
      if (error instanceof RangeIgnoredError) {
        this.plan.rangeIgnored(Date.now())
        return false
      }
      if (isDefect(error)) this.#host.boundary.fail(error)
      const retryInMs = error instanceof OriginRefusedError ? error.retryInMs : undefined
      this.plan.fetchFailed(Date.now(), retryInMs)
      if (isFinal(error) && this.#isAlone()) this.#host.starved()
      this.#host.log.warn({ err: error }, 'a fetch from the registry broke off')
      return false
    } finally {
      this.#runs.delete(run)
    }
  }

  /** Nobody else has the next piece. */
  #isAlone(): boolean {
    const next = this.#host.have.firstMissing(this.#host.position())
    return next >= this.#host.layout.pieceCount || this.#host.isOutOfReach(next as PieceIndex)
  }

  async #store(run: Run, piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<void> {
    const hash = await this.#host.storeFromRegistry(piece, buffer, length)
    this.bytes += length
    if (run.lease === null) return
    this.#pendingHashes.add(piece, hash, run.lease)
    const { boundary } = this.#host
    // While this node knows nobody else, hashes wait for a tick, or until the tracker must hear of the next request.
    if (this.#host.peersReach() !== 'none') boundary.run(() => this.publish())
    else if (run.requests.isReportDue) boundary.run(() => this.#publishNext())
  }

  /**
   * Publishes fetched pieces, in runs; pieces that arrive meanwhile go with the next call. Resolves when they are
   * published or the tracker refused them.
   */
  async publish(): Promise<void> {
    while (await this.#publishNext());
  }

  /** One call, for one run. @returns false when there is none, or the tracker did not answer */
  #publishNext(): Promise<boolean> {
    this.#publishing ??= this.#publishRun().finally(() => {
      this.#publishing = undefined
    })
    return this.#publishing
  }

  async #publishRun(): Promise<boolean> {
    const next = this.#pendingHashes.next()
    if (next === undefined) return false
    const answer = await this.#tell({
      lease: next.lease,
      isLeaseReleased: false,
      // The call is made anyway, and its publication may end a lease that another node waits for.
      wantsLease: this.plan.mayFollowLease(Date.now()),
      firstPiece: next.first,
      hashes: Buffer.concat(next.hashes).toString('base64url'),
    })
    if (answer) this.#pendingHashes.settle(next)
    return answer !== undefined
  }

  /**
   * Publishes the hashes of a blob that is here whole, so that nobody fetches its pieces. Others may hold leases for some of
   * them, and publish those.
   */
  async publishWhole(hashes: readonly Buffer[]): Promise<void> {
    this.#isWhole = true
    for (let leases = 0; leases < WHOLE_LEASES_MAX; leases += 1) {
      if (this.#host.firstUnknownHash() === undefined) break
      if (this.#offered === undefined) await this.#askForLease()
      const lease = this.#offered
      this.#offered = undefined
      if (lease === undefined) await setTimeout(WHOLE_PAUSE_MS, undefined, { ref: false })
      else await this.#publishLeased(lease, hashes)
    }
    this.#isWhole = false
    if (this.#offered) this.#release(this.#offered, { isUseful: false })
    this.#offered = undefined
  }

  async #publishLeased(
    { lease, firstPiece, pieces, endPiece }: Lease,
    hashes: readonly Buffer[],
  ): Promise<void> {
    const end = endPiece ?? firstPiece + pieces
    for (let piece = firstPiece; piece < end; piece += 1)
      this.#pendingHashes.add(piece as PieceIndex, hashes[piece]!, lease)
    await this.publish()
  }

  /** One call at a time. */
  async #tell(call: Call): Promise<Told> {
    while (this.#asking) await this.#asking
    const asking = this.#exchange(call)
    this.#asking = asking
    try {
      return await asking
    } finally {
      this.#asking = undefined
    }
  }

  async #exchange(call: Call): Promise<Told> {
    const { isRangeIgnored } = this.plan
    const awaited = this.plan.awaited()
    const { limitedMs } = this.#host.access
    const run = [...this.#runs].find(({ lease }) => lease !== null && lease === call.lease)
    const requestedTo = run?.requests.reportedTo
    try {
      const answer = await this.#host.askHashes({
        firstPiece: 0,
        hashes: '',
        ...call,
        epoch: this.#host.epoch,
        isRangeIgnored,
        // Only when needed: an older tracker refuses unknown fields.
        ...(awaited && { awaited }),
        ...(requestedTo !== undefined && { requestedTo }),
        ...(this.#isTrackerCurrent && limitedMs > 0 && { registryLimitedMs: limitedMs }),
        position: this.#openEnded.piece ?? this.#host.position(),
        batchesFrom: this.#host.firstUnknownHash() ?? null,
      })
      if (requestedTo !== undefined && answer.leaseEnd !== undefined)
        run!.requests.told(requestedTo, answer.leaseEnd)
      this.#host.learn(answer)
      if (call.wantsLease) this.#noteLease(answer, { isStale: isRangeIgnored !== this.plan.isRangeIgnored })
      return answer
    } catch (error) {
      if (isDefect(error)) this.#host.boundary.fail(error)
      const isSilent = !(error instanceof TrackerRefusedError)
      this.plan.callFailed({ isSilent }, Date.now())
      this.#host.log.debug({ err: error }, 'a call to the tracker failed')
      return !isSilent && error.status !== TOO_MANY_REQUESTS ? 'refused' : undefined
    }
  }

  /** @param isStale the registry ignored a range since the call: others would wait for pieces of this lease */
  #noteLease(answer: HashesResponse, { isStale }: { isStale: boolean }): void {
    const { lease, status, retryInMs, peers } = answer
    this.plan.answered({ isLeased: lease !== null, status, retryInMs, peers: peers.length }, Date.now())
    if (this.#isWhole) this.#offered = lease ?? undefined
    if (this.#isWhole || !lease) return
    const isUseful = this.#isUseful(lease)
    if (!isUseful) this.plan.leasedElsewhere(Date.now())
    // Only while somebody reads. Otherwise it is released to others at once.
    if (isUseful && this.plan.isActive && !isStale) this.#host.boundary.run(() => this.#follow(lease))
    else this.#release(lease, { isUseful })
  }
}
