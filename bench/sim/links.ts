import type { UploadLane } from '../../client/engine/upload-queue.ts'
import type { EventHeap } from './event-heap.ts'
import type { Conn, Fetch, SimNode } from './node.ts'
import { REGISTRY_BYTES_PER_MS } from './scenarios.ts'

/**
 * Bytes on their way: a node's uplink is shared among its slots (what one cannot use, another gets), its downlink and
 * the registry's link equally. Every flow has its event in the heap: when it ends at the present rate.
 */
export class Flows {
  private readonly heap: EventHeap
  private readonly eventOf: (flow: Conn | Fetch) => number
  private readonly fetches = new Set<Fetch>()

  constructor(heap: EventHeap, eventOf: (flow: Conn | Fetch) => number) {
    this.heap = heap
    this.eventOf = eventOf
  }

  startSending(conn: Conn, bytes: number, nowMs: number): void {
    const { sending } = conn.from
    const free = sending.indexOf(undefined)
    conn.slot = free < 0 ? sending.length : free
    sending[conn.slot] = conn
    Object.assign(conn, { bytesLeft: bytes, bytesPerMs: 0, updatedAtMs: nowMs })
    conn.to.receiving.push(conn)
    this.refresh(conn.from, conn.to, nowMs)
  }

  stopSending(conn: Conn, nowMs: number): void {
    this.heap.delete(this.eventOf(conn))
    conn.from.sending[conn.slot] = undefined
    conn.slot = -1
    drop(conn.to.receiving, conn)
    this.refresh(conn.from, conn.to, nowMs)
  }

  startFetch(fetch: Fetch, nowMs: number): void {
    this.fetches.add(fetch)
    fetch.node.fetches.push(fetch)
    this.refreshReceiver(fetch.node, nowMs)
    this.refreshRegistry(nowMs)
  }

  stopFetch(fetch: Fetch, nowMs: number): void {
    this.heap.delete(this.eventOf(fetch))
    this.fetches.delete(fetch)
    drop(fetch.node.fetches, fetch)
    this.refreshReceiver(fetch.node, nowMs)
    this.refreshRegistry(nowMs)
  }

  refreshRegistry(nowMs: number): void {
    for (const fetch of this.fetches) this.setFetchRate(fetch, nowMs)
  }

  private refresh(from: SimNode, to: SimNode, nowMs: number): void {
    this.refreshSender(from, nowMs)
    this.refreshReceiver(to, nowMs)
  }

  private refreshReceiver(node: SimNode, nowMs: number): void {
    for (const conn of node.receiving) this.refreshSender(conn.from, nowMs)
    for (const fetch of node.fetches) this.setFetchRate(fetch, nowMs)
  }

  private refreshSender({ sending, plan }: SimNode, nowMs: number): void {
    const flows = sending.filter((conn) => conn !== undefined)
    if (flows.length > 1) flows.sort((one, other) => shareIn(one.to) - shareIn(other.to))
    let bytesPerMs = plan.bytesPerMs
    for (let at = 0; at < flows.length; at += 1) {
      const rate = Math.min(shareIn(flows[at]!.to), bytesPerMs / (flows.length - at))
      bytesPerMs -= rate
      this.setRate(flows[at]!, rate, nowMs)
    }
  }

  private setFetchRate(fetch: Fetch, nowMs: number): void {
    this.setRate(fetch, Math.min(REGISTRY_BYTES_PER_MS / this.fetches.size, shareIn(fetch.node)), nowMs)
  }

  private setRate(flow: Conn | Fetch, bytesPerMs: number, nowMs: number): void {
    if (flow.bytesPerMs === bytesPerMs) return
    flow.bytesLeft = Math.max(0, flow.bytesLeft - (nowMs - flow.updatedAtMs) * flow.bytesPerMs)
    flow.updatedAtMs = nowMs
    flow.bytesPerMs = bytesPerMs
    this.heap.set(this.eventOf(flow), nowMs + flow.bytesLeft / bytesPerMs)
  }
}

function shareIn(node: SimNode): number {
  return node.plan.bytesPerMs / node.flowsIn
}

export function drop<Item>(list: Item[], item: Item): void {
  const at = list.indexOf(item)
  if (at < 0) return
  list[at] = list[list.length - 1]!
  list.pop()
}

export function newConn(from: SimNode, to: SimNode): Conn {
  const lane: UploadLane = {
    queue: [],
    piece: undefined,
    canWrite: () => conn.slot < 0,
    isSending: () => false,
    isStalled: () => false,
  }
  const idle = { piece: -1, askedAtMs: 0, isSnubbed: false, slot: -1 }
  const conn: Conn = { from, to, lane, ...idle, bytesLeft: 0, bytesPerMs: 0, updatedAtMs: 0 }
  return conn
}
