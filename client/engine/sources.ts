import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { Source } from './source.ts'

/** A downloader that has announced nothing for this time gets no share of a seed's pieces: it may have stopped. */
const SHARING_MS = 5_000

/** The peers of one blob as sources: their offers and this node's rank among them. Pure. */
export class Sources implements Iterable<Source> {
  /** For each piece, how many sources offer it. */
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

  /** @returns false when it is not one of these */
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

  /** At least as many serving sources have a part as have the whole: seeds are spared. */
  areSeedsFew(): boolean {
    let balance = 0
    for (const { isUnchoked, isSnubbed, offered } of this.#all)
      if (isUnchoked && !isSnubbed) balance += offered.isFull ? 1 : -1
    return balance <= 0
  }

  isOffered(piece: PieceIndex): boolean {
    return this.availability[piece]! > 0
  }

  /** A serving source offers the piece. A source that rejected announced pieces does not count. */
  isWithinReach(piece: PieceIndex): boolean {
    for (const { isUnchoked, snubEndsAtMs, offered } of this.#all)
      if (isUnchoked && snubEndsAtMs !== Number.POSITIVE_INFINITY && offered.has(piece)) return true
    return false
  }

  /** Another source that is not snubbed offers the piece. */
  hasAlternative(piece: PieceIndex, besides: Source): boolean {
    for (const source of this.#all) if (source !== besides && isSwift(source, piece)) return true
    return false
  }

  /**
   * Where seeds are few, a seed is asked only for pieces that only seeds have: the first holder of a blob then sends
   * little more than one copy, however many nodes want it. A snubbed source is asked only for pieces that nobody else
   * offers.
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
   * Rank of a node, by node id, among the active downloaders that it knows. Each fetches every nth piece from the
   * seeds, so that nodes that know each other share a seed's link without messages.
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
