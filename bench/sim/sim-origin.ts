import { SILENT_MS_MAX } from '../../client/membership/tracker-state.ts'
import { LeaseRequests, type RequestedRun } from '../../client/origin/lease-requests.ts'
import { OriginPlan, type OriginView, type PeersReach } from '../../client/origin/origin-plan.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { Port } from './port.ts'
import { RegistryRun } from './registry-run.ts'
import { LAYOUT } from './scenarios.ts'
import type { SimNode } from './sim-node.ts'
import type { SimTracker } from './sim-tracker.ts'

interface Run {
  lease: string | undefined
  requests: LeaseRequests
  answers: RegistryRun
}

export interface SimOriginOptions {
  node: SimNode
  registry: Port
  tracker: SimTracker
  /** The tracker named peers. @returns their number */
  onPeers(): number
  onLeased(): void
  onPiece(piece: PieceIndex): void
}

/**
 * Carries out the client's plan (client/origin/origin-plan.ts), without failures: registry and tracker answer at
 * once, and no credential expires.
 */
export class SimOrigin implements OriginView {
  readonly layout = LAYOUT
  readonly #options: SimOriginOptions
  readonly #plan = new OriginPlan(this, 0)
  readonly #runs = new Set<Run>()
  /** Requests to the registry. */
  requests = 0
  /** Since when calls to the tracker wait for an answer. */
  #unansweredSinceMs: number | undefined
  /** Calls that wait, in order: they are sent to the next tracker. */
  readonly #waiting: (() => void)[] = []

  constructor(options: SimOriginOptions) {
    this.#options = options
  }

  get have() {
    return this.#options.node.have
  }

  position(): number {
    return this.have.firstMissing()
  }

  place(): { at: number; of: number } {
    return this.#options.node.download.place()
  }

  isOutOfReach(piece: PieceIndex): boolean {
    const { claimed, download } = this.#options.node
    return claimed[piece] === 0 && !download.isInFlight(piece) && !download.isOffered(piece)
  }

  peersIdleMs(): number {
    return this.#options.node.download.idleMs()
  }

  peersReach(): PeersReach {
    return this.#options.node.links.length > 0 ? 'linked' : 'none'
  }

  isTrackerOff(): boolean {
    return this.#unansweredSinceMs !== undefined && this.#nowMs - this.#unansweredSinceMs > SILENT_MS_MAX
  }

  runsActive(): number {
    return this.#runs.size
  }

  hasUnrequested(): boolean {
    return [...this.#runs].some(({ requests }) => requests.hasMore)
  }

  isNeeded(): boolean {
    return true
  }

  isReadingOn(): boolean {
    return false
  }

  isAsking(): boolean {
    return this.#waiting.length > 0
  }

  /** A pull: one call that names peers and may yield a lease. */
  start(): void {
    this.#plan.start(this.#nowMs)
    this.#ask(true)
  }

  /** Docker's own request, passed through. */
  fetchWhole(): void {
    this.#fetch(undefined, { first: 0, end: LAYOUT.pieceCount })
  }

  stop(): void {
    this.#plan.stop()
    for (const { answers } of this.#runs) answers.stop()
    this.#runs.clear()
  }

  moved(from: 'registry' | 'peer'): void {
    this.#plan.pieceArrived(from, this.#nowMs)
  }

  tick(): void {
    this.sendWaiting()
    const step = this.#plan.next(this.#nowMs)
    if (step?.do === 'fetch') this.#fetch(undefined, step)
    else if (step?.do === 'ask') this.#ask(true)
  }

  get #nowMs(): number {
    return this.#options.node.nowMs
  }

  /** The tracker was lost: the call waits until the node asks another one. */
  #call(call: () => void): void {
    const { cutOffAtMs, cutOffUntilMs } = this.#options.node.plan
    this.sendWaiting()
    if (this.#waiting.length === 0 && (this.#nowMs < cutOffAtMs || this.#nowMs >= cutOffUntilMs)) {
      call()
      return
    }
    this.#unansweredSinceMs ??= this.#nowMs
    this.#waiting.push(call)
  }

  /** Once another tracker answers. */
  sendWaiting(): void {
    if (this.#waiting.length === 0 || this.#nowMs < this.#options.node.plan.cutOffUntilMs) return
    this.#unansweredSinceMs = undefined
    for (const call of this.#waiting.splice(0)) call()
  }

  #ask(wantsLease: boolean): void {
    this.#call(() => this.#askNow(wantsLease))
  }

  /** One call to the tracker. */
  #askNow(wantsLease: boolean): void {
    const { tracker, node, onPeers, onLeased } = this.#options
    tracker.requests += 1
    const peers = onPeers()
    if (!wantsLease) return
    const { lease, retryInMs = null } = tracker.lease({
      node: node.node,
      position: this.position(),
      nowMs: this.#nowMs,
      awaited: this.#plan.awaited() ?? [],
    })
    const status = tracker.isCold ? 'cold' : 'claimed'
    this.#plan.answered({ isLeased: lease !== undefined, status, retryInMs, peers }, this.#nowMs)
    if (!lease) return
    onLeased()
    const { firstPiece: first, pieces, firstPieces } = lease
    this.#fetch(lease.lease, { first, end: first + pieces, knownTo: first + firstPieces })
  }

  #fetch(lease: string | undefined, wanted: RequestedRun): void {
    const { node, registry } = this.#options
    const run: Run = {
      lease,
      requests: new LeaseRequests(this, wanted),
      answers: new RegistryRun({
        from: registry,
        to: node.port,
        onPiece: (piece) => this.#fetched(run, piece),
      }),
    }
    if (!this.#request(run)) return
    this.#runs.add(run)
  }

  #request(run: Run): boolean {
    const { node } = this.#options
    const range = run.requests.take({ nowMs: this.#nowMs })
    if (range === undefined) return false
    this.requests += 1
    for (let piece = range.first; piece < range.end; piece += 1) {
      node.claimed[piece] = 1
      node.download.giveUp(piece as PieceIndex)
    }
    run.answers.request(range)
    return true
  }

  #fetched(run: Run, piece: PieceIndex): void {
    const { node, tracker, onPiece } = this.#options
    const { lease, requests, answers } = run
    requests.reached(piece + 1, this.#nowMs)
    const requestedTo = requests.reportedTo
    if (lease !== undefined && requestedTo !== undefined) {
      this.#call(() => {
        const publication = { node: node.node, lease, piece, nowMs: this.#nowMs, requestedTo }
        requests.told(requestedTo, tracker.publish(publication))
      })
    }
    // Another node took the rest, because this one was late.
    if (piece + 1 >= requests.end) for (const left of answers.stop()) node.claimed[left] = 0
    if (!answers.isComing || requests.isNextDue) this.#request(run)
    if (!answers.isComing) this.#runs.delete(run)
    this.moved('registry')
    onPiece(piece)
    node.claimed[piece] = 0
    if (!answers.isComing) node.download.fillAll()
    if (lease !== undefined) this.#ask(this.#plan.mayFollowLease(this.#nowMs))
  }
}
