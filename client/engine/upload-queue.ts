import type { BlockAddress } from '../wire/messages.ts'

/** Peers that are served at the same moment; others wait their turn, so that pieces go out whole and fast. */
export const SERVED_AT_ONCE = 2

/** Requests of one peer that have not been answered yet. */
export interface UploadLane {
  readonly queue: BlockAddress[]
  /** The piece being served on this lane, so that it is finished before another begins. */
  piece: number | undefined
  /** The connection takes more bytes now. */
  canWrite(): boolean
  /** The connection has taken nothing for a while: it must not keep others from being served. */
  isStalled(): boolean
}

/**
 * Which request is answered next. A holder of scarce pieces serves the least-sent piece first, and piece by piece:
 * this matters more for a cold swarm than anything else (docs/performance.md). Pure.
 */
export class UploadQueue {
  private readonly lanes = new Set<UploadLane>()
  private readonly sentCounts: Uint32Array

  constructor(pieceCount: number) {
    this.sentCounts = new Uint32Array(pieceCount)
  }

  add(lane: UploadLane): void {
    this.lanes.add(lane)
  }

  remove(lane: UploadLane): void {
    this.lanes.delete(lane)
  }

  /** The next block to send, with its lane; undefined when there is none that could go out now. */
  peek(): { lane: UploadLane; block: BlockAddress } | undefined {
    const lane = this.laneInPiece() ?? this.laneWithLeastSent()
    const block = lane?.queue.find(({ piece }) => piece === lane.piece)
    return lane && block && { lane, block }
  }

  /** The block of a `peek` is on its way. */
  taken({ lane, block }: { lane: UploadLane; block: BlockAddress }): void {
    lane.queue.splice(lane.queue.indexOf(block), 1)
    if (!lane.queue.some(({ piece }) => piece === lane.piece)) lane.piece = undefined
  }

  /** A lane that is in the middle of a piece goes on with it. */
  private laneInPiece(): UploadLane | undefined {
    for (const lane of this.lanes) {
      if (lane.piece === undefined) continue
      if (!lane.queue.some(({ piece }) => piece === lane.piece)) lane.piece = undefined
      else if (lane.canWrite()) return lane
    }
    return undefined
  }

  private laneWithLeastSent(): UploadLane | undefined {
    let best: { lane: UploadLane; piece: number; sent: number } | undefined
    let busy = 0
    for (const lane of this.lanes) if (lane.piece !== undefined && !lane.isStalled()) busy += 1
    if (busy >= SERVED_AT_ONCE) return undefined
    for (const lane of this.lanes) {
      if (lane.queue.length === 0 || lane.piece !== undefined || !lane.canWrite()) continue
      for (const { piece } of lane.queue) {
        const sent = this.sentCounts[piece]!
        if (!best || sent < best.sent) best = { lane, piece, sent }
      }
    }
    if (!best) return undefined
    this.sentCounts[best.piece]! += 1
    best.lane.piece = best.piece
    // Of equals, whoever waited longest comes first: else the first to connect would have a seed for itself.
    this.lanes.delete(best.lane)
    this.lanes.add(best.lane)
    return best.lane
  }
}
