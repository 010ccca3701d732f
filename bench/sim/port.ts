import type { BlockAddress } from '../../client/wire/messages.ts'
import type { EventHeap } from './event-heap.ts'

/**
 * Blocks on their way to one machine, each by its share of the link. With one of 512 KiB the link is idle while the next
 * sender is still busy elsewhere, which smaller blocks hardly show; with two a swarm takes as long as with four of the
 * client's 128 KiB, about what a queue of 50 ms before 64 Mbit/s holds (docs/performance-sim.md).
 */
const COMING_MAX = 2
/** Shares of the receiver's link are counted in such parts, so that sums are exact. */
const SHARE_PARTS = 16

/**
 * A receiver so much slower than the sender has its turn even while the sender is busy: what it waits for then is little to
 * it. Senders with much to do would never find it ready otherwise, as connections of TCP that share a link do.
 */
const SLOWER_TIMES = 8

/** One direction of one connection. */
export interface Flow {
  readonly from: Port
  readonly to: Port
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

/** What ports share: the clock, and when each has something to do. */
export interface Wires {
  readonly clock: { nowMs: number }
  readonly heap: EventHeap
}

/**
 * A machine's link, so many bytes per ms each way. Sending, its connections take turns, block by block, but for those
 * whose receiver does not keep up; senders to one receiver take turns, too. Invariant: `#current` is the flow whose first block is
 * leaving; arrivals are in the order of their time.
 */
export class Port {
  /** Bytes that were sent, for the share of time that the link was busy. */
  sentBytes = 0
  readonly #wires: Wires
  readonly #bytesPerMs: number
  readonly #sendEvent: number
  readonly #receiveEvent: number
  readonly #waiting: Flow[] = []
  /** Those whose receivers keep room for them, as soon as what is leaving has left. */
  readonly #due: Flow[] = []
  #current: Flow | undefined
  #startedAtMs = 0
  readonly #arrivals: Arrival[] = []
  #receivedUntilMs = 0
  /** Blocks on their way here, or for which room is kept. */
  #coming = 0
  /** The same by the share of this link that each takes: one from a slow sender little, for a longer time. */
  #comingShare = 0
  /** What waits until less is on its way to this machine, longest first. */
  readonly #blocked = new Set<Flow>()
  /** A block begins to come in where none was coming. */
  onComing: () => void = () => undefined
  /** A block is here; more of them are coming, or not. */
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

  /** The connection is closed: what is in its socket is gone but for what is leaving. @returns how many blocks that is */
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
    // Those that wait come before this flow's next: else who serves a slow machine once has it for itself.
    this.#wake()
    this.onTurn(this.#coming > 0)
    flow.onArrived(block)
  }

  /** A block passes this link while it leaves the sender's, but not before those that came earlier. */
  #receive(flow: Flow, block: BlockAddress, startedAtMs: number): void {
    const beganAtMs = Math.max(this.#receivedUntilMs, startedAtMs)
    this.#receivedUntilMs = Math.max(this.#wires.clock.nowMs, beganAtMs + block.length / this.#bytesPerMs)
    this.#arrivals.push({ flow, block, atMs: this.#receivedUntilMs })
    if (this.#arrivals.length === 1) this.#wires.heap.set(this.#receiveEvent, this.#receivedUntilMs)
  }

  /** There is room for another block. */
  #wake(): void {
    for (const flow of this.#blocked) {
      if (this.#comingShare >= COMING_MAX) return
      this.#blocked.delete(flow)
      if (flow.socket.length > 0) flow.from.#sendOf(flow)
    }
  }

  /** A block comes, or has come. */
  #count(flow: Flow, blocks: 1 | -1): void {
    this.#coming += blocks
    const share = Math.min(
      1,
      Math.ceil((SHARE_PARTS * flow.from.#bytesPerMs) / this.#bytesPerMs) / SHARE_PARTS,
    )
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
