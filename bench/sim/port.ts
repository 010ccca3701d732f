import type { BlockAddress } from '../../client/wire/messages.ts'
import type { EventHeap } from './event-heap.ts'
import type { Trunk } from './trunk.ts'

/**
 * Blocks in flight to one machine, each by its share of the link. With one of 512 KiB the link is idle while the next
 * sender is still busy elsewhere; smaller blocks hardly show that. With two, a swarm takes as long as with four of
 * the client's 128 KiB, about as much as a queue of 50 ms before 64 Mbit/s holds (docs/performance-sim.md).
 */
const COMING_MAX = 2
/** Number of parts in which shares of the receiver's link are counted, so that sums are exact. */
const SHARE_PARTS = 16

/**
 * A receiver that is this many times slower than the sender has its turn even while the sender is busy. Its wait is
 * short by its own measure. Busy senders would otherwise never find it ready, while TCP connections that share a link
 * do.
 */
const SLOWER_TIMES = 8

/** One direction of one connection. */
export interface Flow {
  readonly from: Port
  readonly to: Port
  /** Between their zones; undefined within one. */
  readonly trunk?: Trunk | undefined
  /** Given to the socket and not sent yet, in order. */
  readonly socket: BlockAddress[]
  /** A block has left: the socket takes another. */
  onSent(): void
  onArrived(block: BlockAddress): void
}

interface Arrival {
  flow: Flow
  block: BlockAddress
  atMs: number
}

/** Shared by all ports: the clock, and the events of each. */
export interface Wires {
  readonly clock: { nowMs: number }
  readonly heap: EventHeap
}

/**
 * A machine's link with its bytes per ms each way. Outgoing connections take turns, block by block, except those
 * whose receiver does not keep up; senders to one receiver take turns, too. Invariant: `#current` is the flow whose
 * first block is leaving; arrivals are in the order of their time.
 */
export class Port {
  /** Sent bytes, for the share of time that the link was busy. */
  sentBytes = 0
  readonly #wires: Wires
  readonly #bytesPerMs: number
  readonly #sendEvent: number
  readonly #receiveEvent: number
  readonly #waiting: Flow[] = []
  /** Flows whose receivers reserved room, in order, after the block that is leaving. */
  readonly #due: Flow[] = []
  #current: Flow | undefined
  #startedAtMs = 0
  readonly #arrivals: Arrival[] = []
  #receivedUntilMs = 0
  /** Blocks in flight to this machine, and reserved room. */
  #coming = 0
  /** The same by each block's share of this link: a slow sender's takes little, for a longer time. */
  #comingShare = 0
  /** Flows that wait for room at this machine, the longest wait first. */
  readonly #blocked = new Set<Flow>()
  /** A block begins to arrive where none was arriving. */
  onComing: () => void = () => undefined
  /** A block has arrived; `isMoreComing` tells whether others are arriving. */
  onTurn: (isMoreComing: boolean) => void = () => undefined

  constructor(wires: Wires, options: { bytesPerMs: number; sendEvent: number; receiveEvent: number }) {
    this.#wires = wires
    this.#bytesPerMs = options.bytesPerMs
    this.#sendEvent = options.sendEvent
    this.#receiveEvent = options.receiveEvent
  }

  send(flow: Flow, block: BlockAddress): void {
    flow.socket.push(block)
    if (flow.socket.length === 1) this.#waiting.push(flow)
    this.#sendNext()
  }

  /**
   * The connection is closed: blocks in its socket are lost, except the one that is leaving. @returns the number of
   * lost blocks
   */
  close(flow: Flow): number {
    const kept = flow === this.#current ? 1 : 0
    const gone = flow.socket.length - kept
    flow.socket.length = kept
    const at = this.#waiting.indexOf(flow)
    if (at >= 0) this.#waiting.splice(at, 1)
    const dueAt = this.#due.indexOf(flow)
    if (dueAt >= 0) {
      this.#due.splice(dueAt, 1)
      flow.to.#count(flow, -1)
      flow.to.#wake()
    }
    return gone
  }

  /** The block that was leaving has left. */
  sent(): void {
    const flow = this.#current!
    const block = flow.socket.shift()!
    this.#current = undefined
    this.sentBytes += block.length
    if (flow.socket.length > 0) this.#waiting.push(flow)
    flow.to.#receive(flow, block, this.#startedAtMs)
    flow.onSent()
    this.#sendNext()
  }

  /** The first block of the queue has arrived. */
  received(): void {
    const { flow, block } = this.#arrivals.shift()!
    if (this.#arrivals.length > 0) this.#wires.heap.set(this.#receiveEvent, this.#arrivals[0]!.atMs)
    this.#count(flow, -1)
    // Waiting flows come before this flow's next block: otherwise a sender that served a slow machine once would keep
    // it.
    this.#wake()
    this.onTurn(this.#coming > 0)
    flow.onArrived(block)
  }

  /** A block passes this link while it leaves the sender's, but not before earlier ones. */
  #receive(flow: Flow, block: BlockAddress, startedAtMs: number): void {
    if (flow.trunk !== undefined) {
      // It passes this link, which is wider than its share of the trunk, as it comes.
      this.#arrive(flow, block, flow.trunk.pass(this.#wires.clock.nowMs, block.length))
      return
    }
    const beganAtMs = Math.max(this.#receivedUntilMs, startedAtMs)
    this.#receivedUntilMs = Math.max(this.#wires.clock.nowMs, beganAtMs + block.length / this.#bytesPerMs)
    this.#arrive(flow, block, this.#receivedUntilMs)
  }

  #arrive(flow: Flow, block: BlockAddress, atMs: number): void {
    const before = this.#arrivals.findIndex((arrival) => arrival.atMs > atMs)
    const at = before < 0 ? this.#arrivals.length : before
    this.#arrivals.splice(at, 0, { flow, block, atMs })
    if (at === 0) this.#wires.heap.set(this.#receiveEvent, atMs)
  }

  /** There is room for another block. */
  #wake(): void {
    for (const flow of this.#blocked) {
      if (this.#comingShare >= COMING_MAX) return
      this.#blocked.delete(flow)
      if (flow.socket.length > 0) flow.from.#sendOf(flow)
    }
  }

  /** A block begins to arrive, or has arrived. */
  #count(flow: Flow, blocks: 1 | -1): void {
    this.#coming += blocks
    const share =
      flow.trunk === undefined
        ? Math.min(1, Math.ceil((SHARE_PARTS * flow.from.#bytesPerMs) / this.#bytesPerMs) / SHARE_PARTS)
        : 1 / SHARE_PARTS
    this.#comingShare += blocks * share
  }

  #sendOf(flow: Flow): void {
    const at = this.#waiting.indexOf(flow)
    if (!this.#current) {
      this.#waiting.splice(at, 1)
      this.#start(flow)
    } else if (at >= 0 && flow.to.#bytesPerMs * SLOWER_TIMES <= this.#bytesPerMs) {
      this.#waiting.splice(at, 1)
      flow.to.#count(flow, 1)
      this.#due.push(flow)
    }
  }

  #sendNext(): void {
    if (this.#current) return
    const due = this.#due.shift()
    if (due) {
      due.to.#count(due, -1)
      this.#start(due)
      return
    }
    for (let at = 0; at < this.#waiting.length; at += 1) {
      const flow = this.#waiting[at]!
      if (flow.to.#comingShare >= COMING_MAX) {
        flow.to.#blocked.add(flow)
        continue
      }
      this.#waiting.splice(at, 1)
      this.#start(flow)
      return
    }
  }

  #start(flow: Flow): void {
    flow.to.#count(flow, 1)
    if (flow.to.#coming === 1) flow.to.onComing()
    this.#current = flow
    this.#startedAtMs = this.#wires.clock.nowMs
    this.#wires.heap.set(this.#sendEvent, this.#startedAtMs + flow.socket[0]!.length / this.#bytesPerMs)
  }
}
