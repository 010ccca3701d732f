import { type AloneView, aloneRun, lacksPieces, outOfReachRuns } from '../../client/alone-run.ts'
import { RUNS_MAX } from '../../client/origin.ts'
import { Patience } from '../../client/patience.ts'
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
  /** The tracker named peers. @returns how many */
  onPeers(): number
  onLeased(): void
  onPiece(piece: PieceIndex): void
}

/**
 * What a node fetches from the registry, as client/origin.ts has it, without what goes wrong there: runs under leases,
 * each piece published, and with it the next lease asked for; on its own when the swarm gives nothing.
 */
export class SimOrigin implements AloneView {
  readonly layout = LAYOUT
  private readonly options: SimOriginOptions
  private readonly runs = new Set<RegistryRun>()
  private readonly patience = new Patience(0)
  private askAtMs = 0
  private starves = false
  private isAlone = false
  private isAllPublished = false

  constructor(options: SimOriginOptions) {
    this.options = options
  }

  get have() {
    return this.options.node.have
  }

  position(): number {
    return this.have.firstMissing()
  }

  place(): { at: number; of: number } {
    return this.options.node.download.place()
  }

  isOutOfReach(piece: PieceIndex): boolean {
    const { claimed, download } = this.options.node
    return claimed[piece] === 0 && !download.isUnderWay(piece) && !download.isOffered(piece)
  }

  /** A pull: one call that tells of peers and may come with a lease. */
  start(): void {
    this.patience.begin(this.nowMs)
    this.ask(true)
  }

  stop(): void {
    for (const run of this.runs) run.stop()
    this.runs.clear()
  }

  moved(from: 'registry' | 'peer'): void {
    this.patience.moved(this.nowMs)
    if (from === 'registry' || (this.isAllPublished && lacksPieces(this))) return
    this.isAlone = false
    this.starves = false
  }

  tick(): void {
    if (this.have.isFull) return
    if (this.runs.size === 0) this.lookForHelp()
    if (this.runs.size === 0 && this.isAlone) this.fetchAlone()
    else if (this.nowMs >= this.askAtMs && this.canFollowLease()) this.ask(true)
  }

  private lookForHelp(): void {
    const peersIdleMs = this.options.node.download.idleMs()
    if (!this.starves && !this.patience.isToldToWait && this.patience.isStarving(this.nowMs, peersIdleMs)) {
      this.starves = true
      this.askAtMs = this.nowMs
    }
    if (this.patience.isOut(this.nowMs, peersIdleMs)) this.isAlone = true
  }

  private get nowMs(): number {
    return this.options.node.nowMs
  }

  private canFollowLease(): boolean {
    return this.runs.size < RUNS_MAX && this.options.node.isWanting && lacksPieces(this)
  }

  /** One call to the tracker. */
  private ask(wantsLease: boolean): void {
    const { tracker, node, onPeers, onLeased } = this.options
    tracker.requests += 1
    const peers = onPeers()
    if (!wantsLease) return
    const { lease, retryInMs } = tracker.lease({
      node: node.node,
      position: this.position(),
      nowMs: this.nowMs,
      awaited: this.starves ? outOfReachRuns(this) : [],
    })
    this.isAllPublished = !tracker.isCold
    if (lease) {
      this.patience.notToldToWait()
      onLeased()
      this.fetch({ lease: lease.lease, first: lease.firstPiece, end: lease.firstPiece + lease.pieces })
      return
    }
    this.askAtMs = this.nowMs + (retryInMs ?? this.patience.nextAskInMs())
    if (retryInMs === undefined) this.patience.notToldToWait()
    else this.patience.toldToWait(this.nowMs, { isCold: tracker.isCold })
    if (this.isAllPublished && retryInMs === undefined && peers === 0) this.isAlone = true
  }

  private fetchAlone(): void {
    const next = aloneRun(this)
    if (next) this.fetch({ lease: undefined, ...next })
  }

  private fetch({ lease, first, end }: { lease: string | undefined; first: number; end: number }): void {
    const { node, registry } = this.options
    const pieces: PieceIndex[] = []
    for (let piece = first; piece < end; piece += 1)
      if (!node.have.has(piece as PieceIndex)) pieces.push(piece as PieceIndex)
    if (pieces.length === 0) return
    const run = new RegistryRun({
      from: registry,
      to: node.port,
      pieces,
      onPiece: (piece) => this.fetched(run, lease, piece),
    })
    this.runs.add(run)
    for (const piece of pieces) {
      node.claimed[piece] = 1
      node.download.giveUp(piece)
    }
    run.start()
  }

  private fetched(run: RegistryRun, lease: string | undefined, piece: PieceIndex): void {
    const { node, tracker, onPiece } = this.options
    if (run.isDone) this.runs.delete(run)
    if (lease !== undefined) tracker.publish({ node: node.node, lease, piece, nowMs: this.nowMs })
    this.moved('registry')
    onPiece(piece)
    if (run.isDone) {
      for (const claimed of run.pieces) node.claimed[claimed] = 0
      node.download.fillAll()
    }
    if (lease !== undefined) this.ask(this.canFollowLease())
  }
}
