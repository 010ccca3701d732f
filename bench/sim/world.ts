import { SILENT_MS_MAX, TrackerState } from '../../client/membership/tracker-state.ts'
import { LANE_STALLED_MS } from '../../client/peer/upload-lane.ts'
import { DIALS_MAX } from '../../client/swarm/dials.ts'
import { TICK_MS } from '../../client/swarm/swarm.ts'
import { LINKS_MAX } from '../../client/swarm/swarm-links.ts'
import { allPieces, type PieceIndex } from '../../core/metainfo.ts'
import { HEARTBEATS_MISSED_MAX } from '../../tracker/calls/heartbeat.ts'
import type { LeasePolicy } from '../../tracker/handout/leases.ts'
import { Announcements } from './announcements.ts'
import { Conn } from './conn.ts'
import { EventHeap } from './event-heap.ts'
import { Port } from './port.ts'
import { HEARTBEAT_MS, LAYOUT, type NodePlan, ODD_SHARE, REGISTRY_BYTES_PER_MS } from './scenarios.ts'
import { SimNode } from './sim-node.ts'
import { SimOrigin } from './sim-origin.ts'
import { SimTracker } from './sim-tracker.ts'
import { Trunks, type Zones } from './trunk.ts'

/** Simulated time after which a run counts as hung. */
const HUNG_MS = 60 * 60_000
/** A lease holder that is to die does so within this time. */
const HOLDER_DIES_WITHIN_MS = 200
/**
 * Number of event kinds of a node. In the heap an event is the node's id times this, plus one of the values below.
 */
const EVENT_KINDS = 4
const EVENTS = { turn: 0, death: 1, sent: 2, received: 3 }

export interface WorldOptions {
  plans: NodePlan[]
  policy: LeasePolicy
  /** Calls before that time are answered then. */
  trackerAnswersAtMs: number
  /** A tenth of the nodes with leases die soon after their first. */
  doHoldersDie: boolean
  /** Every machine wants a blob of each of so many images, at the same time. */
  images: number
  /** Absent: one place for all. */
  zones?: Zones | undefined
  random(): number
}

/**
 * Swarms from the first arrival until every living node has all blobs. A machine has a node for each image, and they share its
 * link; the registry's is shared by all. Invariant: time never goes back.
 */
export class World {
  /** By machine: those of one stand together, one for each image. */
  readonly nodes: SimNode[]
  /** By image. */
  readonly trackers: SimTracker[]
  readonly registry: Port
  /** When the last piece came from the registry. */
  originDoneAtMs = 0
  /** The longest time that a pull waited for the tracker. */
  waitedMs = 0
  readonly #clock = { nowMs: 0 }
  readonly #options: WorldOptions
  readonly #heap: EventHeap
  readonly #announcements: Announcements
  readonly #holders = new Set<SimNode>()
  /** Nodes that pull without the swarm. */
  readonly #direct = new Set<SimNode>()
  readonly #trunks: Trunks
  readonly #dead: { node: number; atMs: number }[] = []
  #waiting = 0

  constructor(options: WorldOptions) {
    const { plans, policy, images, random, zones } = options
    this.#options = options
    this.#trunks = new Trunks(zones, images)
    const nodes = plans.length * images
    this.#heap = new EventHeap((nodes + 1) * EVENT_KINDS)
    this.#announcements = new Announcements(nodes, LAYOUT.pieceCount)
    const isNear = (one: number, other: number) => this.#trunks.isNear(one, other)
    const known = zones?.areKnown ? { isNear } : {}
    this.trackers = Array.from({ length: images }, () => new SimTracker({ policy, random, ...known }))
    this.registry = this.#newPort(nodes, REGISTRY_BYTES_PER_MS)
    this.nodes = plans.flatMap((plan, machine) => this.#newMachine(machine, plan))
    for (const node of this.nodes) this.#expect(node)
  }

  /** @throws Error when a node never gets the blob */
  run(): void {
    while (this.#waiting > 0) {
      const event = this.#heap.next()
      this.#clock.nowMs = this.#heap.atMs
      if (event < 0 || this.nowMs > HUNG_MS) throw new Error(`${this.#waiting} nodes never get the blob`)
      this.#handle(Math.floor(event / EVENT_KINDS), event % EVENT_KINDS)
    }
  }

  get nowMs(): number {
    return this.#clock.nowMs
  }

  /** Copies of a blob that passed from zone to zone. */
  get blobsAcrossZones(): number {
    return this.#trunks.sentBytes / LAYOUT.blobBytes
  }

  /** Copies of every image's blob, on average. */
  get blobsFromOrigin(): number {
    return this.registry.sentBytes / LAYOUT.blobBytes / this.#options.images
  }

  get trackerRequests(): number {
    return this.trackers.reduce((sum, { requests }) => sum + requests, 0)
  }

  #newPort(id: number, bytesPerMs: number): Port {
    const event = id * EVENT_KINDS
    const events = { sendEvent: event + EVENTS.sent, receiveEvent: event + EVENTS.received }
    return new Port({ clock: this.#clock, heap: this.#heap }, { bytesPerMs, ...events })
  }

  #newMachine(machine: number, plan: NodePlan): SimNode[] {
    const { images } = this.#options
    const first = machine * images
    const { isListening } = this.#announcements
    const port = this.#newPort(first, plan.bytesPerMs)
    const nodes = this.trackers.map((tracker, image) => this.#newNode(first + image, { plan, port, tracker }))
    port.onComing = () => void isListening.fill(0, first, first + images)
    port.onTurn = (isMoreComing) => {
      for (const node of nodes) node.listen()
      if (!isMoreComing) isListening.fill(1, first, first + images)
    }
    return nodes
  }

  #newNode(
    id: number,
    { plan, port, tracker }: { plan: NodePlan; port: Port; tracker: SimTracker },
  ): SimNode {
    const clock = this.#clock
    const announcements = this.#announcements
    const { registry } = this
    const node = new SimNode({
      id,
      plan,
      port,
      clock,
      announcements,
      random: this.#options.random,
      onPiece: (piece) => {
        node.origin.moved('peer')
        this.#got(node, piece)
      },
    })
    node.origin = new SimOrigin({
      node,
      registry,
      tracker,
      onPeers: () => this.#hearOfPeers(node),
      onLeased: () => this.#leased(node),
      onPiece: (piece) => {
        this.originDoneAtMs = this.nowMs
        this.#got(node, piece)
      },
    })
    return node
  }

  #expect(node: SimNode): void {
    const { id, plan } = node
    if (plan.isSeed) {
      for (const piece of allPieces(LAYOUT)) {
        node.have.add(piece)
        this.#announcements.add(id, piece)
      }
      node.doneAtMs = 0
      this.#trackerOf(node).setWarm()
      this.#arrive(node)
      return
    }
    this.#waiting += 1
    this.#heap.set(id * EVENT_KINDS + EVENTS.turn, plan.arrivesAtMs)
    if (plan.diesAtMs < Number.POSITIVE_INFINITY) this.#dieAt(node, plan.diesAtMs)
  }

  #handle(id: number, kind: number): void {
    const node = this.nodes[id]
    if (kind === EVENTS.sent) (node?.port ?? this.registry).sent()
    else if (kind === EVENTS.received) node!.port.received()
    else if (kind === EVENTS.death) this.#die(node!)
    else this.#turn(node!)
  }

  #turn(node: SimNode): void {
    this.#forgetDead()
    if (!node.isUp) this.#arrive(node)
    else this.#tick(node)
  }

  /**
   * A pull: the node is listed, and receives peers and perhaps a lease. It waits for a tracker that is silent as the client
   * does (client/membership/tracker-state.ts), and then goes to the registry as it is.
   */
  #arrive(node: SimNode): void {
    const { random, trackerAnswersAtMs } = this.#options
    const { arrivesAtMs } = node.plan
    if (this.nowMs < trackerAnswersAtMs) {
      const isOff = new TrackerState(arrivesAtMs).look(arrivesAtMs, trackerAnswersAtMs) === undefined
      if (isOff && this.nowMs > arrivesAtMs) this.#goDirect(node)
      else {
        const startsAtMs = isOff ? arrivesAtMs + SILENT_MS_MAX : trackerAnswersAtMs
        this.#heap.set(node.id * EVENT_KINDS + EVENTS.turn, startsAtMs)
      }
      return
    }
    this.waitedMs = Math.max(this.waitedMs, this.nowMs - arrivesAtMs)
    node.isUp = true
    node.heartbeatAtMs = this.nowMs + HEARTBEAT_MS * random()
    this.#trackerOf(node).join(node.id)
    if (node.doneAtMs === undefined) {
      node.download.resume()
      node.origin.start()
      this.#connect(node)
    } else this.#trackerOf(node).completed(node.id)
    // A random phase: nodes do not tick in step.
    this.#heap.set(node.id * EVENT_KINDS + EVENTS.turn, this.nowMs + TICK_MS * random())
  }

  #goDirect(node: SimNode): void {
    this.waitedMs = Math.max(this.waitedMs, this.nowMs - node.plan.arrivesAtMs)
    node.isUp = true
    this.#direct.add(node)
    node.origin.fetchWhole()
  }

  #tick(node: SimNode): void {
    if (this.nowMs >= node.heartbeatAtMs) this.#heartbeat(node)
    node.origin.sendWaiting()
    if (node.isWanting) {
      node.download.tick()
      // A stalled lane no longer keeps others waiting.
      node.serve()
      node.origin.tick()
      this.#connect(node)
    } else node.serve()
    const nextAtMs = node.isWanting
      ? this.nowMs + TICK_MS
      : Math.min(node.heartbeatAtMs, this.nowMs + LANE_STALLED_MS)
    this.#heap.set(node.id * EVENT_KINDS + EVENTS.turn, nextAtMs)
  }

  #heartbeat(node: SimNode): void {
    node.heartbeatAtMs += HEARTBEAT_MS
    const { cutOffAtMs, cutOffUntilMs } = node.plan
    if (this.nowMs >= cutOffAtMs && this.nowMs < cutOffUntilMs) return
    this.#trackerOf(node).heartbeat(node.id)
    if (node.isWanting) this.#hearOfPeers(node)
  }

  /** @returns the number of named peers */
  #hearOfPeers(node: SimNode): number {
    const peers = this.#trackerOf(node).peersFor(node.id)
    if (node.links.length < DIALS_MAX) node.known = peers
    return peers.length
  }

  #leased(node: SimNode): void {
    const isFirst = !this.#holders.has(node)
    this.#holders.add(node)
    if (!isFirst || !this.#options.doHoldersDie || this.#options.random() >= ODD_SHARE) return
    const atMs = this.nowMs + this.#options.random() * HOLDER_DIES_WITHIN_MS
    const first = node.id - (node.id % this.#options.images)
    for (const own of this.nodes.slice(first, first + this.#options.images)) this.#dieAt(own, atMs)
  }

  #got(node: SimNode, piece: PieceIndex): void {
    if (!node.have.add(piece)) return
    node.download.giveUp(piece)
    if (node.have.isFull) this.#complete(node)
    this.#announcements.add(node.id, piece)
    const { isListening } = this.#announcements
    for (const peer of node.peerIds) if (isListening[peer] === 1) this.nodes[peer]!.listen()
  }

  #complete(node: SimNode): void {
    node.doneAtMs = this.nowMs
    this.#waiting -= 1
    if (this.#direct.has(node)) return
    node.download.pause()
    const tracker = this.#trackerOf(node)
    tracker.requests += 1
    tracker.completed(node.id)
    for (const { other } of [...node.links]) if (!other.isWanting) this.#unlink(node, other)
  }

  #connect(node: SimNode): void {
    while (node.links.length < DIALS_MAX && node.known.length > 0) {
      const other = this.nodes[node.known.pop()!]!
      const isKnown = node.links.some((link) => link.other === other)
      if (other.isUp && !isKnown && other.links.length < LINKS_MAX) this.#link(node, other)
    }
  }

  #link(one: SimNode, other: SimNode): void {
    const there = new Conn(one, other, this.#trunks.between(one.id, other.id))
    const back = new Conn(other, one, this.#trunks.between(other.id, one.id))
    there.back = back
    back.back = there
    one.addLink({ other, outgoing: there, incoming: back })
    other.addLink({ other: one, outgoing: back, incoming: there })
    for (const conn of [there, back]) {
      conn.sender.uploads.add(conn)
      conn.receiver.download.unchoked(conn.source)
    }
    one.listen()
    other.listen()
  }

  #unlink(one: SimNode, other: SimNode): void {
    one.dropLink(other)
    other.dropLink(one)
  }

  #dieAt(node: SimNode, atMs: number): void {
    this.#heap.set(node.id * EVENT_KINDS + EVENTS.death, atMs)
  }

  #die(node: SimNode): void {
    if (!node.isUp) return
    if (node.isWanting) this.#waiting -= 1
    node.isUp = false
    node.download.pause()
    this.#heap.delete(node.id * EVENT_KINDS + EVENTS.turn)
    node.origin.stop()
    for (const { other } of [...node.links]) this.#unlink(node, other)
    // It is handed out until it has missed enough heartbeats; nodes that dial it meanwhile find nobody.
    this.#dead.push({ node: node.id, atMs: this.nowMs + HEARTBEATS_MISSED_MAX * HEARTBEAT_MS })
  }

  #forgetDead(): void {
    while (this.#dead.length > 0 && this.#dead[0]!.atMs <= this.nowMs) this.#forget(this.#dead.shift()!.node)
  }

  #forget(node: number): void {
    this.trackers[node % this.#options.images]!.forget(node)
  }

  #trackerOf({ id }: SimNode): SimTracker {
    return this.trackers[id % this.#options.images]!
  }
}
