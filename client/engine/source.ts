import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { PieceBuffer } from '../store/piece-buffers.ts'
import type { StreamedPiece } from '../store/piece-stream.ts'
import type { BlockAddress } from '../wire/messages.ts'
import { RequestWindow } from './request-window.ts'

/** The download's side of a peer. Implemented by connections and by the simulation. */
export interface SourcePort {
  readonly node: NodeId
  request(block: BlockAddress): void
  cancel(block: BlockAddress): void
  /** The piece has arrived whole. */
  received(piece: PieceIndex): void
  /** Drops the rest of the arriving block: its buffer is released. */
  discardBlock(): void
  /** Where a block arrives that goes on to the file. Absent: the source has its own. */
  readonly block?: Uint8Array
}

export interface SourceLimits {
  blockBytes: number
  /** Requests that the other side queues. */
  requestsMax: number
  /** BEP 6: every request is answered, a cancelled one too. */
  hasFast: boolean
}

/** A peer that offers pieces. */
export interface Source {
  readonly port: SourcePort
  readonly limits: SourceLimits
  readonly offered: Bitfield
  readonly window: RequestWindow
  /** When it connected or last announced a piece. */
  offeredAtMs: number
  isUnchoked: boolean
  outstandingBytes: number
  outstandingRequests: number
  readonly assemblies: Assembly[]
  /**
   * Timed out; used only as a last resort, until it delivers, the time below has passed, or nothing arrives at all.
   */
  isSnubbed: boolean
  /** End of that time; infinite for a source that rejected an announced piece. */
  snubEndsAtMs: number
  unaskedBytes: number
  /** Value of the download's `#changes` when nothing could be requested from it; -1 when something may be. */
  exhaustedAt: number
  /** The block that is arriving now. */
  arriving: { assembly: Assembly; begin: number; sinceMs: number } | undefined
  /** Where a block arrives that goes on to the file. */
  block: Uint8Array | undefined
  readonly cancelled: CancelledBlocks
  /** Time of the last cancel. */
  cancelledAtMs: number
}

/** Where the blocks of a piece go: into memory, or to the file as they arrive. */
export type PieceCopy =
  | { readonly buffer: PieceBuffer; readonly stream?: undefined }
  | { readonly stream: StreamedPiece; readonly buffer?: undefined }

/** A piece in flight from one source. A piece comes whole from one source, so that a bad one has one culprit. */
export interface Assembly {
  readonly piece: PieceIndex
  readonly length: number
  readonly copy: PieceCopy
  readonly source: Source
  readonly startedAtMs: number
  /** Outstanding blocks: where each begins, and its length. */
  readonly outstanding: Map<number, number>
  requestedBytes: number
  receivedBytes: number
  /** It was cancelled and arrives nevertheless. Its time does not count, and a reject answers the cancel. */
  isTakenBack: boolean
}

/** A block has arrived or is arriving. Cancelled now, its transfer would be wasted. */
export function hasBegun(assembly: Assembly): boolean {
  return assembly.receivedBytes > 0 || assembly.source.arriving?.assembly === assembly
}

/** The block is the first of a cancelled piece, and the whole piece is still due. */
export function isComingAllTheSame(
  { cancelled, limits }: Source,
  block: BlockAddress,
  length: number,
): boolean {
  const { blockBytes } = limits
  if (block.begin !== 0 || block.length !== Math.min(blockBytes, length)) return false
  return cancelled.hasAll(block.piece, { length, blockBytes })
}

/** The assembly at the source with blocks that are not requested yet. */
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
    block: undefined,
    cancelled: new CancelledBlocks(),
    cancelledAtMs: Number.NEGATIVE_INFINITY,
  }
}

type BlockStart = Pick<BlockAddress, 'piece' | 'begin'>

/** Answers due to cancelled requests: blocks to drop, or rejects without meaning. */
export class CancelledBlocks {
  /** Created at the first cancel: most sources have none. */
  #due: Map<number, number> | undefined

  /** Number of answers due. */
  get size(): number {
    return this.#due?.size ?? 0
  }

  add(block: BlockStart): void {
    this.#due ??= new Map()
    this.#due.set(keyOf(block), (this.#due.get(keyOf(block)) ?? 0) + 1)
  }

  /** Exactly one answer is due for each block of the piece. With two due, a block could be either. */
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
