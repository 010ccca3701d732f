import { SERVED_AT_ONCE } from '../../client/engine/upload-queue.ts'
import { DIALS_MAX, LINKS_MAX } from '../../client/swarm-links.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { LeasePolicy } from '../../tracker/handout/leases.ts'
import { EventHeap } from './event-heap.ts'
import { drop, Flows, newConn } from './links.ts'
import { type Conn, type Fetch, REQUESTS_MAX, SimNode } from './node.ts'
import { BLOB_BYTES, type NodePlan, ODD_SHARE, PIECE_BYTES, PIECE_COUNT } from './scenarios.ts'
import { SimTracker } from './sim-tracker.ts'

/** How often a node looks around (client/swarm.ts), and reports to the tracker (its default). */
const TICK_MS = 250
const HEARTBEAT_MS = 5_000
const HEARTBEATS_MISSED_MAX = 3
/** As in client/origin.ts. */
const RUNS_MAX = 2
const PATIENCE_MS = 3_000
const TRUST_MS = 30_000
const RETRY_MS = 1_000
const ALONE_PIECES_MAX = 16
/** Simulated time after which a run counts as hung. */
const HUNG_MS = 10 * 60_000
/** A lease holder that is to die does so within this. */
const HOLDER_DIES_WITHIN_MS = 200

export interface WorldOptions {
  plans: NodePlan[]
  policy: LeasePolicy
  /** A tenth of the nodes that are given leases die soon after their first. */
  doHoldersDie: boolean
  random(): number
}

/** One swarm from the first arrival until every node that lives has the blob. Invariant: time never goes back. */
export class World {
  readonly nodes: SimNode[]
  readonly tracker: SimTracker
  nowMs = 0
  originBytes = 0
  /** When the last piece came from the registry. */
  originDoneAtMs = 0
  private readonly options: WorldOptions
  private readonly heap: EventHeap
  private readonly flows: Flows
  private readonly fetchOfId = new Map<number, Fetch>()
  private readonly freeFetchIds: number[] = []
  private readonly dead: { node: number; atMs: number }[] = []
  private waiting: number

  constructor(options: WorldOptions) {
    const { plans, policy, random } = options
    this.options = options
    this.nodes = plans.map((plan, id) => new SimNode(id, plan, PIECE_COUNT, random))
    this.waiting = plans.length
    this.tracker = new SimTracker({ pieceCount: PIECE_COUNT, policy, random })
    const count = plans.length
    const base = count * (2 + SERVED_AT_ONCE)
    this.heap = new EventHeap(base + count * (RUNS_MAX + 1))
    this.flows = new Flows(this.heap, (flow) =>
      'slot' in flow ? count * 2 + flow.from.id * SERVED_AT_ONCE + flow.slot : base + flow.id,
    )
    for (let id = count * (RUNS_MAX + 1) - 1; id >= 0; id -= 1) this.freeFetchIds.push(id)
    for (const { id, plan } of this.nodes) {
      this.heap.set(id, plan.arrivesAtMs)
      if (plan.diesAtMs < Number.POSITIVE_INFINITY) this.heap.set(count + id, plan.diesAtMs)
    }
  }

  /** @throws Error when a node never gets the blob */
  run(): void {
    while (this.waiting > 0) {
      const next = this.heap.next()
      if (!next || next.atMs > HUNG_MS) throw new Error(`${this.waiting} nodes never get the blob`)
      this.nowMs = next.atMs
      this.handle(next.event)
    }
  }

  private handle(event: number): void {
    const count = this.nodes.length
    const firstFetch = count * (2 + SERVED_AT_ONCE)
    if (event < count) this.turn(this.nodes[event]!)
    else if (event < 2 * count) this.die(this.nodes[event - count]!)
    else if (event >= firstFetch) this.fetched(this.fetchOfId.get(event - firstFetch)!)
    else {
      const at = event - 2 * count
      this.arrived(this.nodes[Math.floor(at / SERVED_AT_ONCE)]!.sending[at % SERVED_AT_ONCE]!)
    }
  }

  private turn(node: SimNode): void {
    this.forgetDead()
    if (!node.isUp) {
      this.arrive(node)
      // Nodes do not look around in step.
      this.heap.set(node.id, this.nowMs + TICK_MS * this.options.random())
      return
    }
    this.tick(node)
    if (node.doneAtMs === undefined) this.heap.set(node.id, this.nowMs + TICK_MS)
    else this.heap.set(node.id, this.nowMs + HEARTBEAT_MS)
  }

  /** A pull: the node is listed, and hears of peers and perhaps of a lease. */
  private arrive(node: SimNode): void {
    node.isUp = true
    node.heardAtMs = this.nowMs
    node.heartbeatAtMs = this.nowMs + HEARTBEAT_MS * this.options.random()
    this.tracker.join(node.id)
    this.ask(node, true)
    this.connect(node)
  }

  private tick(node: SimNode): void {
    if (this.nowMs >= node.heartbeatAtMs) this.heartbeat(node)
    if (node.doneAtMs !== undefined) return
    for (const conn of node.stalled(this.nowMs)) {
      conn.isSnubbed = true
      this.abandon(conn)
    }
    this.connect(node)
    for (const conn of [...node.incoming]) this.fill(conn)
    const isFree = node.fetches.length < RUNS_MAX && this.nowMs >= node.askAtMs
    if (node.fetches.length === 0 && this.isOutOfPatience(node)) this.fetchAlone(node)
    else if (isFree && node.lacksPieces()) this.ask(node, true)
  }

  private heartbeat(node: SimNode): void {
    node.heartbeatAtMs += HEARTBEAT_MS
    this.tracker.heartbeat(node.id)
    if (node.isWanting && node.incoming.length < DIALS_MAX) node.known = this.tracker.peersFor(node.id)
  }

  private isOutOfPatience(node: SimNode): boolean {
    const told = node.toldToWaitAtMs
    if (told !== undefined && this.nowMs - told < TRUST_MS) return false
    return this.nowMs - node.heardAtMs > PATIENCE_MS
  }

  /** One call to the tracker for hashes and the next lease. */
  private ask(node: SimNode, wantsLease: boolean): void {
    this.tracker.requests += 1
    if (node.incoming.length < DIALS_MAX) node.known = this.tracker.peersFor(node.id)
    if (!wantsLease) return
    const lease = this.tracker.lease(node.id, node.have.firstMissing(), this.nowMs)
    if (lease) {
      node.toldToWaitAtMs = undefined
      const isFirst = !node.isHolder
      node.isHolder = true
      if (isFirst && this.options.doHoldersDie && this.options.random() < ODD_SHARE)
        this.heap.set(this.nodes.length + node.id, this.nowMs + this.options.random() * HOLDER_DIES_WITHIN_MS)
      this.fetchNext(node, {
        first: lease.firstPiece,
        end: lease.firstPiece + lease.pieces,
        lease: lease.lease,
      })
      return
    }
    const isCold = this.tracker.isCold
    node.askAtMs = this.nowMs + (isCold ? this.tracker.retryInMs(this.nowMs) : RETRY_MS)
    node.toldToWaitAtMs = isCold ? (node.toldToWaitAtMs ?? this.nowMs) : undefined
  }

  private fetchAlone(node: SimNode): void {
    const first = node.have.firstMissing()
    const end = Math.min(PIECE_COUNT, first + ALONE_PIECES_MAX)
    this.fetchNext(node, { first, end, lease: undefined })
  }

  /** Fetches the first piece of the run that is missing, if any. */
  private fetchNext(node: SimNode, run: { first: number; end: number; lease: string | undefined }): void {
    let piece = run.first
    while (piece < run.end && node.have.has(piece as PieceIndex)) piece += 1
    if (piece === run.end) return
    for (const conn of node.incoming) if (conn.piece === piece) this.abandon(conn)
    node.underWay[piece]! += 1
    const id = this.freeFetchIds.pop()!
    const start = { bytesLeft: PIECE_BYTES, bytesPerMs: 0, updatedAtMs: this.nowMs }
    const fetch: Fetch = { node, id, lease: run.lease, end: run.end, piece, ...start }
    this.fetchOfId.set(id, fetch)
    this.flows.startFetch(fetch, this.nowMs)
  }

  private endFetch(fetch: Fetch): void {
    this.flows.stopFetch(fetch, this.nowMs)
    this.fetchOfId.delete(fetch.id)
    this.freeFetchIds.push(fetch.id)
    fetch.node.underWay[fetch.piece]! -= 1
    this.originBytes +=
      PIECE_BYTES - Math.max(0, fetch.bytesLeft - (this.nowMs - fetch.updatedAtMs) * fetch.bytesPerMs)
  }

  private fetched(fetch: Fetch): void {
    const { node, piece, end, lease } = fetch
    this.endFetch(fetch)
    this.originDoneAtMs = this.nowMs
    this.fetchNext(node, { first: piece + 1, end, lease })
    this.got(node, piece)
    if (lease === undefined) return
    this.tracker.publish(node.id, lease, piece, this.nowMs)
    this.ask(node, node.fetches.length < RUNS_MAX && node.lacksPieces())
  }

  private arrived(conn: Conn): void {
    const { from, to, piece, lane } = conn
    this.flows.stopSending(conn, this.nowMs)
    from.uploads.taken({ lane, block: lane.queue[0]! })
    this.endRequest(conn)
    conn.isSnubbed = false
    to.timed(this.nowMs - conn.askedAtMs)
    const wasFull = to.requests >= REQUESTS_MAX - 1
    this.got(to, piece)
    if (wasFull) for (const other of to.incoming) this.fill(other)
    else this.fill(conn)
    this.serve(from)
  }

  private got(node: SimNode, piece: number): void {
    node.heardAtMs = this.nowMs
    if (!node.have.add(piece as PieceIndex)) return
    for (const other of node.incoming) if (other.piece === piece) this.abandon(other)
    if (node.have.isFull) this.complete(node)
    for (const conn of node.outgoing) {
      conn.to.availability[piece]! += 1
      if (conn.piece < 0 && conn.to.isMissing(piece)) this.fill(conn)
    }
  }

  private complete(node: SimNode): void {
    node.doneAtMs = this.nowMs
    this.waiting -= 1
    this.tracker.requests += 1
    this.tracker.completed(node.id)
    for (const conn of [...node.incoming]) if (conn.from.doneAtMs !== undefined) this.unlink(node, conn.from)
  }

  private fill(conn: Conn): void {
    const { to, from } = conn
    if (conn.piece >= 0 || !to.isWanting || to.requests >= REQUESTS_MAX) return
    const piece = to.pick(conn) ?? to.pickDuplicate(conn, this.nowMs)
    if (piece === undefined) return
    conn.piece = piece
    conn.askedAtMs = this.nowMs
    to.underWay[piece]! += 1
    to.requests += 1
    // Two blocks stand for the piece: the queue sees it as being served between the first and the second.
    conn.lane.queue.push({ piece, begin: 0, length: 0 }, { piece, begin: 1, length: 0 })
    this.serve(from)
  }

  private serve(node: SimNode): void {
    for (let next = node.uploads.peek(); next; next = node.uploads.peek()) {
      const { lane } = next
      node.uploads.taken(next)
      this.flows.startSending(node.outgoing.find((conn) => conn.lane === lane)!, PIECE_BYTES, this.nowMs)
    }
  }

  private endRequest(conn: Conn): void {
    conn.to.underWay[conn.piece]! -= 1
    conn.to.requests -= 1
    conn.piece = -1
  }

  private abandon(conn: Conn): void {
    if (conn.piece < 0) return
    if (conn.slot >= 0) this.flows.stopSending(conn, this.nowMs)
    conn.lane.queue.length = 0
    conn.lane.piece = undefined
    this.endRequest(conn)
    this.serve(conn.from)
  }

  private connect(node: SimNode): void {
    while (node.incoming.length < DIALS_MAX && node.known.length > 0) {
      const other = this.nodes[node.known.pop()!]!
      const isKnown = node.incoming.some(({ from }) => from === other)
      if (other.isUp && !isKnown && other.incoming.length < LINKS_MAX) this.link(node, other)
    }
  }

  private link(one: SimNode, other: SimNode): void {
    const conns = [newConn(one, other), newConn(other, one)]
    for (const conn of conns) {
      const { from, to, lane } = conn
      from.outgoing.push(conn)
      to.incoming.push(conn)
      from.uploads.add(lane)
      for (let piece = 0; piece < PIECE_COUNT; piece += 1)
        if (from.have.has(piece as PieceIndex)) to.availability[piece]! += 1
    }
    for (const conn of conns) this.fill(conn)
  }

  private unlink(one: SimNode, other: SimNode): void {
    for (const conn of one.incoming.filter(({ from }) => from === other)) this.cut(conn)
    for (const conn of one.outgoing.filter(({ to }) => to === other)) this.cut(conn)
  }

  private cut(conn: Conn): void {
    const { from, to, lane } = conn
    drop(from.outgoing, conn)
    drop(to.incoming, conn)
    this.abandon(conn)
    from.uploads.remove(lane)
    for (let piece = 0; piece < PIECE_COUNT; piece += 1)
      if (from.have.has(piece as PieceIndex)) to.availability[piece]! -= 1
  }

  private die(node: SimNode): void {
    if (!node.isUp) return
    if (node.doneAtMs === undefined) this.waiting -= 1
    node.isUp = false
    this.heap.delete(node.id)
    for (const fetch of [...node.fetches]) this.endFetch(fetch)
    for (const conn of [...node.incoming]) this.unlink(node, conn.from)
    // It is handed out until it has been missed for long enough; whoever dials it meanwhile finds nobody.
    this.dead.push({ node: node.id, atMs: this.nowMs + HEARTBEATS_MISSED_MAX * HEARTBEAT_MS })
  }

  private forgetDead(): void {
    while (this.dead.length > 0 && this.dead[0]!.atMs <= this.nowMs)
      this.tracker.forget(this.dead.shift()!.node)
  }

  get blobsFromOrigin(): number {
    return this.originBytes / BLOB_BYTES
  }
}
