import { missingRuns, OriginPlan, type OriginView, type PeersReach } from '../../client/origin/origin-plan.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { Port } from './port.ts'
import { RegistryRun } from './registry-run.ts'
import { LAYOUT } from './scenarios.ts'
import type { SimNode } from './sim-node.ts'
import type { SimTracker } from './sim-tracker.ts'

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
  readonly #runs = new Set<RegistryRun>()

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
    return false
  }

  runsActive(): number {
    return this.#runs.size
  }

  isReadingOn(): boolean {
    return false
  }

  isAsking(): boolean {
    return false
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
    for (const run of this.#runs) run.stop()
    this.#runs.clear()
  }

  moved(from: 'registry' | 'peer'): void {
    this.#plan.pieceArrived(from, this.#nowMs)
  }

  tick(): void {
    const step = this.#plan.next(this.#nowMs)
    if (step?.do === 'fetch') this.#fetch(undefined, step)
    else if (step?.do === 'ask') this.#ask(true)
  }

  get #nowMs(): number {
    return this.#options.node.nowMs
  }

  /** One call to the tracker. */
  #ask(wantsLease: boolean): void {
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
    this.#fetch(lease.lease, { first: lease.firstPiece, end: lease.firstPiece + lease.pieces })
  }

  #fetch(lease: string | undefined, range: { first: number; end: number }): void {
    const { node, registry } = this.#options
    const pieces = [...missingRuns(node.have, range)].flatMap(({ first, end }) =>
      Array.from({ length: end - first }, (_, at) => (first + at) as PieceIndex),
    )
    if (pieces.length === 0) return
    const run = new RegistryRun({
      from: registry,
      to: node.port,
      pieces,
      onPiece: (piece) => this.#fetched(run, lease, piece),
    })
    this.#runs.add(run)
    for (const piece of pieces) {
      node.claimed[piece] = 1
      node.download.giveUp(piece)
    }
    run.start()
  }

  #fetched(run: RegistryRun, lease: string | undefined, piece: PieceIndex): void {
    const { node, tracker, onPiece } = this.#options
    if (run.isDone) this.#runs.delete(run)
    if (lease !== undefined) tracker.publish({ node: node.node, lease, piece, nowMs: this.#nowMs })
    this.moved('registry')
    onPiece(piece)
    if (run.isDone) {
      for (const claimed of run.pieces) node.claimed[claimed] = 0
      node.download.fillAll()
    }
    if (lease !== undefined) this.#ask(this.#plan.mayFollowLease(this.#nowMs))
  }
}
