import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import type { BlockAddress } from '../wire/messages.ts'
import { RequestWindow } from './request-window.ts'

/** A peer as a source: what the download tells it. Implemented by a connection, or by a simulator. */
export interface SourcePort {
  readonly node: NodeId
  request(block: BlockAddress): void
  cancel(block: BlockAddress): void
  /** The whole piece has come. */
  received(piece: PieceIndex): void
  /** What is still coming of a block under way must go nowhere: its buffer is given back. */
  discardBlock(): void
}

export interface SourceLimits {
  blockBytes: number
  /** Requests that the other side queues. */
  requestsMax: number
  /** BEP 6: every request is answered, a cancelled one too. */
  hasFast: boolean
}

/** One peer that pieces can be had from. */
export interface Source {
  readonly port: SourcePort
  readonly limits: SourceLimits
  readonly offered: Bitfield
  readonly window: RequestWindow
  /** When it was connected, or announced its last piece. */
  offeredAtMs: number
  isUnchoked: boolean
  outstandingBytes: number
  outstandingRequests: number
  readonly assemblies: Assembly[]
  /** Gave no block in time: asked only for what nobody else offers, until it delivers again, time has passed, or nothing comes at all. */
  isSnubbed: boolean
  /** When that time has passed; never for one that rejects what it announced. */
  snubEndsAtMs: number
  unaskedBytes: number
  /** At which of the download's changes nothing could be asked of it any more; -1 when something may be. */
  exhaustedAt: number
  /** The block that is arriving right now. */
  arriving: { assembly: Assembly; begin: number; sinceMs: number } | undefined
  readonly cancelled: CancelledBlocks
  /** When the last of them was. */
  cancelledAtMs: number
}

/** A piece on its way from one source. Pieces come whole from one source, so that a bad one has one culprit. */
export interface Assembly {
  readonly piece: PieceIndex
  readonly length: number
  readonly buffer: PieceBuffer
  readonly source: Source
  readonly startedAtMs: number
  /** Blocks asked for and not here yet: where each begins, and its length. */
  readonly outstanding: Map<number, number>
  requestedBytes: number
  receivedBytes: number
  /** It was cancelled before, and comes all the same: how long it took says nothing, and a reject answers the cancel. */
  isTakenBack: boolean
}

/** Something of it has come, or is coming right now: what is stopped then was for nothing. */
export function hasBegun(assembly: Assembly): boolean {
  return assembly.receivedBytes > 0 || assembly.source.arriving?.assembly === assembly
}

/** The block is the first of a piece that the source was told not to send, and all of it is still due. */
export function isComingAllTheSame(
  { cancelled, limits }: Source,
  block: BlockAddress,
  length: number,
): boolean {
  const { blockBytes } = limits
  if (block.begin !== 0 || block.length !== Math.min(blockBytes, length)) return false
  return cancelled.hasAll(block.piece, { length, blockBytes })
}

/** What was begun at the source, and not all of it asked for. */
export function openAssembly({ assemblies }: Source): Assembly | undefined {
  return assemblies.find(({ requestedBytes, length }) => requestedBytes < length)
}

export function newSource(
  port: SourcePort,
  limits: SourceLimits,
  { pieceCount, nowMs }: { pieceCount: number; nowMs: number },
): Source {
  return {
    port,
    limits,
    offered: new Bitfield(pieceCount),
    window: new RequestWindow(nowMs),
    offeredAtMs: nowMs,
    isUnchoked: false,
    outstandingBytes: 0,
    outstandingRequests: 0,
    assemblies: [],
    isSnubbed: false,
    snubEndsAtMs: 0,
    unaskedBytes: 0,
    exhaustedAt: -1,
    arriving: undefined,
    cancelled: new CancelledBlocks(),
    cancelledAtMs: Number.NEGATIVE_INFINITY,
  }
}

type BlockStart = Pick<BlockAddress, 'piece' | 'begin'>

/** Answers still due to cancelled requests: blocks that may be dropped, or rejects that mean nothing. */
export class CancelledBlocks {
  /** Made when the first is cancelled: most sources have none. */
  #due: Map<number, number> | undefined

  /** How many there are. */
  get size(): number {
    return this.#due?.size ?? 0
  }

  add(block: BlockStart): void {
    this.#due ??= new Map()
    this.#due.set(keyOf(block), (this.#due.get(keyOf(block)) ?? 0) + 1)
  }

  /** One answer is due for each block of the piece: of two, nobody knows which one a block is. */
  hasAll(piece: number, { length, blockBytes }: { length: number; blockBytes: number }): boolean {
    if (this.#due === undefined) return false
    for (let begin = 0; begin < length; begin += blockBytes)
      if (this.#due.get(keyOf({ piece, begin })) !== 1) return false
    return true
  }

  /** @returns false when no answer is due for this block */
  take(block: BlockStart): boolean {
    const count = this.#due?.get(keyOf(block))
    if (this.#due === undefined || count === undefined) return false
    if (count === 1) this.#due.delete(keyOf(block))
    else this.#due.set(keyOf(block), count - 1)
    return true
  }
}

/** One number per block: pieces are at most 4 MiB, indexes below 2^18. */
function keyOf({ piece, begin }: BlockStart): number {
  return piece * 2 ** 22 + begin
}
