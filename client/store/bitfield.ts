import type { PieceIndex } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'

/** A set of pieces, in BitTorrent's bit order (BEP 3: the high bit of the first byte is piece 0). */
export class Bitfield {
  readonly pieceCount: number
  readonly #bytes: Uint8Array
  #countSet = 0
  #lowestUnset = 0

  constructor(pieceCount: number) {
    this.pieceCount = pieceCount
    this.#bytes = new Uint8Array(Math.ceil(pieceCount / 8))
  }

  /** @throws PeerProtocolError when the length is wrong or a spare bit is set (BEP 3) */
  static fromBytes(bytes: Uint8Array, pieceCount: number): Bitfield {
    const field = new Bitfield(pieceCount)
    if (bytes.length !== field.#bytes.length) throw new PeerProtocolError('a bitfield of the wrong length')
    const spareBits = bytes.length * 8 - pieceCount
    if (spareBits > 0 && (bytes[bytes.length - 1]! & ((1 << spareBits) - 1)) !== 0) {
      throw new PeerProtocolError('a bitfield with spare bits set')
    }
    for (let piece = 0; piece < pieceCount; piece++) {
      if ((bytes[piece >> 3]! & (0x80 >> (piece & 7))) !== 0) field.add(piece as PieceIndex)
    }
    return field
  }

  static full(pieceCount: number): Bitfield {
    const field = new Bitfield(pieceCount)
    for (let piece = 0; piece < pieceCount; piece++) field.add(piece as PieceIndex)
    return field
  }

  has(piece: PieceIndex): boolean {
    return (this.#bytes[piece >> 3]! & (0x80 >> (piece & 7))) !== 0
  }

  /** @returns false when it was in the set already */
  add(piece: PieceIndex): boolean {
    if (this.has(piece)) return false
    this.#bytes[piece >> 3]! |= 0x80 >> (piece & 7)
    this.#countSet += 1
    return true
  }

  delete(piece: PieceIndex): void {
    if (!this.has(piece)) return
    this.#bytes[piece >> 3]! &= ~(0x80 >> (piece & 7))
    this.#countSet -= 1
    this.#lowestUnset = Math.min(this.#lowestUnset, piece)
  }

  get count(): number {
    return this.#countSet
  }

  get isFull(): boolean {
    return this.#countSet === this.pieceCount
  }

  /** The first piece from `from` on that is not in the set; `pieceCount` when all are. */
  firstMissing(from = 0): number {
    let piece = Math.max(from, this.#lowestUnset)
    while (piece < this.pieceCount && this.has(piece as PieceIndex)) piece += 1
    if (from <= this.#lowestUnset) this.#lowestUnset = piece
    return piece
  }

  toBytes(): Buffer {
    return Buffer.from(this.#bytes)
  }
}
