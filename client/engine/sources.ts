import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { Source } from './source.ts'

/** A downloader that has announced nothing for so long takes no share of a seed's pieces: it may have stopped. */
const SHARING_MS = 5_000

/** The peers of one blob as sources: who offers what, and who stands where. Pure. */
export class Sources implements Iterable<Source> {
  /** How many of them offer each piece. */
  readonly availability: Uint16Array
  readonly #all = new Set<Source>()

  constructor(pieceCount: number) {
    this.availability = new Uint16Array(pieceCount)
  }

  get count(): number {
    return this.#all.size
  }

  [Symbol.iterator](): Iterator<Source> {
    return this.#all.values()
  }

  add(source: Source): void {
    this.#all.add(source)
  }

  /** @returns false when it is none of these */
  remove(source: Source): boolean {
    if (!this.#all.delete(source)) return false
    for (let piece = 0; piece < this.availability.length; piece++) {
      if (source.offered.has(piece as PieceIndex)) this.availability[piece]! -= 1
    }
    return true
  }

  /** @returns false when it was known */
  offer(source: Source, piece: PieceIndex, nowMs: number): boolean {
    if (!source.offered.add(piece)) return false
    source.offeredAtMs = nowMs
    this.availability[piece]! += 1
    return true
  }

  withdraw(source: Source, piece: PieceIndex): void {
    if (!source.offered.has(piece)) return
    source.offered.delete(piece)
    this.availability[piece]! -= 1
  }

  /** Not more of those that serve have everything than have a part: seeds are to be spared. */
  areSeedsFew(): boolean {
    let balance = 0
    for (const { isUnchoked, isSnubbed, offered } of this.#all)
      if (isUnchoked && !isSnubbed) balance += offered.isFull ? 1 : -1
    return balance <= 0
  }

  isOffered(piece: PieceIndex): boolean {
    return this.availability[piece]! > 0
  }

  /** Some source that serves offers the piece: not one that rejected what it had announced. */
  isWithinReach(piece: PieceIndex): boolean {
    for (const { isUnchoked, snubEndsAtMs, offered } of this.#all)
      if (isUnchoked && snubEndsAtMs !== Number.POSITIVE_INFINITY && offered.has(piece)) return true
    return false
  }

  /** Another source that has not stalled offers the piece. */
  hasAlternative(piece: PieceIndex, besides: Source): boolean {
    for (const source of this.#all) if (source !== besides && isSwift(source, piece)) return true
    return false
  }

  /**
   * Where seeds are few, one is asked for what only seeds have, so that the first holder of a blob sends little more than one
   * copy of it however many want it; a source that stalled, for what nobody else offers.
   */
  isSparedFor(piece: PieceIndex, source: Source): boolean {
    if (source.isSnubbed && this.hasAlternative(piece, source)) return true
    if (!source.isSnubbed && !(source.offered.isFull && this.areSeedsFew())) return false
    for (const other of this.#all) {
      if (other !== source && !other.offered.isFull && isSwift(other, piece)) return true
    }
    return false
  }

  /**
   * Where a node stands among the downloaders at work that it knows of, by node id. Each fetches every nth piece from the
   * seeds: those that know of each other share a seed's link without a word.
   */
  placeOf(node: NodeId, nowMs: number): { at: number; of: number } {
    let at = 0
    let of = 1
    for (const { offered, port, offeredAtMs } of this.#all) {
      if (offered.isFull || nowMs - offeredAtMs > SHARING_MS) continue
      of += 1
      if (port.node < node) at += 1
    }
    return { at, of }
  }
}

function isSwift({ isUnchoked, isSnubbed, offered }: Source, piece: PieceIndex): boolean {
  return isUnchoked && !isSnubbed && offered.has(piece)
}
